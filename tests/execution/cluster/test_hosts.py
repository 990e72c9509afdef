"""A cluster that ``ray start`` made of two hosts: two namespaces of this machine, joined by a network."""

from __future__ import annotations

import sys

import pytest

from support.two_hosts import AUTHENTICATION, NotPermitted, ray_cluster, two_hosts

pytestmark = [pytest.mark.slow, pytest.mark.ray]

WHERE = """
import os, ray, socket, sys

ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")

@ray.remote(num_cpus=1)
class Rank:
    def where(self):
        return socket.gethostname(), len(os.listdir("/dev/shm"))

ranks = [Rank.remote() for _ in range(2)]
print(sorted(name for name, _ in ray.get([rank.where.remote() for rank in ranks])))
"""


@pytest.fixture(scope="module")
def hosts():
    try:
        with two_hosts() as pair:
            yield pair
    except NotPermitted as refused:
        pytest.skip(f"two hosts cannot be made here: {refused}")


@pytest.fixture(scope="module")
def cluster(hosts):
    """The address of the head; each host says that it has one core."""
    with ray_cluster(hosts) as address:
        yield address


def test_ray_places_a_process_on_each_host(hosts, cluster):
    said = hosts[0].run(sys.executable, "-c", WHERE, cluster, **AUTHENTICATION)
    assert said.stdout.strip() == str([host.name for host in hosts]), said.stderr
