"""Two hosts, each a namespace of this machine with a network between them: clusters as people start them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from lsbench.cli.flags import as_yaml
from lsbench.spec import RunSpec
from lsbench.store.manifest import Manifest
from lsbench.store.run_folder import RunFolder
from support.models import single_thread
from support.runs import go, lines_of
from support.two_hosts import AUTHENTICATION, Host, NotPermitted, ray_cluster, two_hosts

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.hosts]

BIN = Path(sys.executable).parent
SCRIPT = Path(__file__).parents[3] / "docs" / "cluster" / "lsbench.sbatch"
SRUN = """#!/bin/bash
# srun: the command runs on the host that --nodelist names.
while [[ $1 == --* ]]; do
    [[ $1 == --nodelist=* ]] && node=${1#*=}
    shift
done
exec nsenter --target="$(cat "$HOLDERS/$node")" --net --mount --uts -- "$@"
"""
SCONTROL = """#!/bin/bash
# scontrol show hostnames LIST
tr , '\\n' <<< "$3"
"""


@pytest.fixture
def hosts():
    try:
        with two_hosts() as pair:
            yield pair
    except NotPermitted as refused:
        pytest.skip(f"two hosts cannot be made here: {refused}")


@pytest.fixture(scope="module")
def asked(spec_for) -> RunSpec:
    """In float64, where sums in another order part no two tokens."""
    return spec_for(
        "static_exit:exit_layer=2",
        "self_speculative:draft=static_exit,draft.exit_layer=2",
        tasks=("tiny_generate", "tiny_choice"),
        limit=4,
        dtype="float64",
    )


@pytest.fixture(scope="module")
def alone(asked) -> dict[tuple, object]:
    """What one process gives."""
    with single_thread():
        return answers(go(asked).folder)


def answers(folder: RunFolder) -> dict[tuple, object]:
    """By request and strategy: tokens, or a log-likelihood as far as float64 tells it."""
    given: dict[tuple, object] = {}
    for line in lines_of(folder.path):
        if line["kind"] in ("generate", "score"):
            assert line["error"] is None, line["error"]
            key = (line["label"], line["task"], line["doc_id"], line["idx"])
            assert key not in given, "once each"
            logprob = line["logprob"]
            given[key] = tuple(line["token_ids"] or ()) if logprob is None else pytest.approx(logprob, 1e-9)
    return given


@pytest.fixture
def files(asked, tmp_path) -> tuple[Path, Path]:
    """A configuration file of the run, and the folder that its results go to."""
    results, config = tmp_path / "results", tmp_path / "run.yaml"
    config.write_text(as_yaml(asked.model_copy(update={"output": str(results)})))
    return config, results


def only_run(results: Path) -> tuple[RunFolder, Manifest]:
    (path,) = results.iterdir()
    folder = RunFolder.open(path)
    return folder, folder.manifest


def hosts_of(manifest: Manifest) -> list[tuple[int, int, str]]:
    (placement,) = manifest.placements
    return sorted((rank.replica, rank.rank, rank.host) for rank in placement.ranks)


@pytest.mark.timeout(900)
def test_one_copy_over_two_hosts(hosts, asked, alone, files):
    """Neither host has room for two ranks: sums go through gloo over the network."""
    config, results = files
    with ray_cluster(hosts, cores=1) as address:
        said = hosts[0].run(
            str(BIN / "lsbench"), "run", "--config", str(config), "--ray-address", address, "--tp", "2",
            **AUTHENTICATION,
        )  # fmt: skip
        assert said.returncode == 0, said.stderr
    folder, manifest = only_run(results)
    assert answers(folder) == alone
    assert hosts_of(manifest) in (
        [(0, 0, hosts[0].name), (0, 1, hosts[1].name)],
        [(0, 0, hosts[1].name), (0, 1, hosts[0].name)],
    )


@pytest.mark.timeout(900)
def test_the_batch_script_of_the_docs_runs_a_copy_on_each_host(hosts, asked, alone, files, tmp_path):
    """Slurm's own commands are stood in for; Ray, its hosts and the run are what they are."""
    config, results = files
    said = submit(hosts, tmp_path, "--config", str(config))
    logs = {log.name: log.read_text() for log in tmp_path.glob("ray-*.log")}
    assert said.returncode == 0, (said.stderr, logs)
    folder, manifest = only_run(results)
    assert answers(folder) == alone
    assert {host for _, _, host in hosts_of(manifest)} == {host.name for host in hosts}
    assert {line["replica"] for line in lines_of(folder.path)} == {0, 1}
    assert logs.keys() == {"ray-head.log", f"ray-{hosts[1].name}.log"}


def submit(hosts: tuple[Host, Host], folder: Path, *arguments: str):
    """``sbatch lsbench.sbatch ARGUMENTS``, by whoever stands in for Slurm."""
    tools, holders = folder / "tools", folder / "holders"
    tools.mkdir()
    holders.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    for host in hosts:
        (holders / host.name).write_text(str(host.holder))
    return hosts[0].run(
        "env", f"--chdir={folder}", "bash", str(SCRIPT), *arguments,
        PATH=f"{tools}:{BIN}:{os.environ['PATH']}",
        HOLDERS=str(holders),
        SLURM_JOB_NODELIST=",".join(host.name for host in hosts),
        SLURM_CPUS_PER_TASK="1",
    )  # fmt: skip
