import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsbench.errors import BadInput
from lsbench.execution.plan import SHARED_BUFFER_BYTES, Host, Placement, Resources, fit, place
from lsbench.spec import RunSpec

GIB = 1 << 30


def asked(**fields) -> Placement:
    return place(RunSpec(strategies=(), tasks=(), **fields))


def machines(*cores: int, gpus: int = 0, memory: int = 16 * GIB, shared: int | None = None) -> Resources:
    return Resources(
        tuple(Host(f"host{index}", count, gpus, memory, shared) for index, count in enumerate(cores))
    )


def test_one_process_needs_no_ray():
    assert asked() == Placement("local", 1, 1, 1)
    assert asked(batch_size=4, threads=2, device="cuda:1", backend="local") == Placement("local", 1, 1, 4, 2)


@pytest.mark.parametrize(
    "fields",
    [{"replicas": 2}, {"tensor_parallel": 2}, {"backend": "ray"}, {"ray_address": "auto"}],
)
def test_what_needs_several_processes_or_asks_for_ray_gets_it(fields):
    placed = asked(**fields)
    assert placed.backend == "ray"
    assert (placed.tensor_parallel, placed.replicas) == (
        fields.get("tensor_parallel", 1),
        fields.get("replicas", 1),
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"backend": "local", "replicas": 3}, ["--backend local", "--replicas 3 needs 3"]),
        (
            {"backend": "local", "tensor_parallel": 2, "replicas": 3},
            ["--tensor-parallel 2 --replicas 3 needs 6", "leave out --backend"],
        ),
        ({"backend": "local", "ray_address": "h:1"}, ["--ray-address h:1", "--backend local"]),
        ({"replicas": 2, "device": "cuda:1"}, ["--device cuda:1", "write --device cuda"]),
        ({"ray_address": "head"}, ["--ray-address 'head' is not HOST:PORT"]),
        ({"ray_address": "head:0"}, ["is not HOST:PORT"]),
        ({"ray_address": "head:65536"}, ["is not HOST:PORT"]),
        ({"ray_address": ":6379"}, ["is not HOST:PORT"]),
        ({"ray_address": "head:six"}, ["is not HOST:PORT"]),
        ({"ray_address": "head:²"}, ["is not HOST:PORT"]),
        ({"ray_address": ""}, ["is not HOST:PORT"]),
        ({"ray_address": "ray://head:10001"}, ["client protocol is not supported", "HOST:PORT"]),
    ],
)
def test_what_contradicts_itself_is_refused(fields, words):
    with pytest.raises(BadInput) as caught:
        asked(**fields)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("address", ["10.0.0.1:6379", "[::1]:6379", "head.cluster:1", "auto"])
def test_addresses_that_may_be_one(address):
    assert asked(ray_address=address).backend == "ray"


@pytest.mark.parametrize(
    ("cores", "fields", "threads", "shared"),
    [
        ((2,), {"tensor_parallel": 2}, 1, False),
        ((8,), {"tensor_parallel": 2}, 4, False),
        ((7,), {"tensor_parallel": 2}, 3, False),
        ((1,), {"tensor_parallel": 2}, 1, True),
        ((2,), {"replicas": 2}, 1, True),  # one memory
        ((64,), {"replicas": 2}, 32, True),
        ((2, 2), {"replicas": 2}, 2, False),
        ((2, 2), {"replicas": 3}, 1, True),
        ((2, 2), {"tensor_parallel": 2, "replicas": 2}, 1, False),
        ((1, 1), {"tensor_parallel": 2}, 1, False),  # over both
        ((6, 2), {"tensor_parallel": 4}, 1, False),  # not over both with two threads
        ((3, 3), {"tensor_parallel": 2, "replicas": 3}, 1, True),
        ((2,), {"tensor_parallel": 2, "replicas": 2}, 1, True),
        ((4,), {"backend": "ray"}, 4, False),
        ((4,), {"tensor_parallel": 2, "threads": 1}, 1, False),
        ((4,), {"tensor_parallel": 2, "threads": 3}, 3, True),
    ],
)
def test_cores_are_dealt_out(cores, fields, threads, shared):
    placed = fit(asked(**fields), machines(*cores), "cpu")
    assert (placed.threads_per_rank, placed.gpus_per_rank, placed.shared_cores) == (threads, 0, shared)


@given(
    st.lists(st.integers(1, 64), min_size=1, max_size=4),
    st.integers(1, 8),
    st.integers(1, 8),
)
def test_ranks_have_no_more_threads_than_there_are_cores_unless_that_is_told(cores, ranks, replicas):
    resources = machines(*cores)
    placed = fit(asked(tensor_parallel=ranks, replicas=replicas, backend="auto"), resources, "cpu")
    if placed.backend == "local":
        assert placed == Placement("local", 1, 1, 1)
        return
    threads = placed.threads_per_rank
    assert threads is not None
    assert threads >= 1
    room = sum(count // threads for count in cores)
    assert room >= placed.ranks or (threads == 1 and placed.shared_cores)
    if len(cores) == 1:
        assert threads == max(1, cores[0] // placed.ranks)
        assert placed.shared_cores == (replicas > 1 or placed.ranks > cores[0])
    assert placed.shared_cores or replicas <= len(cores)
    assert fit(placed, resources, "cpu") == placed, "what fits is left as it is"


def test_one_process_is_left_as_it_is():
    placed = asked(threads=None)
    assert fit(placed, machines(1, gpus=4, memory=1), "cuda", 10 * GIB) == placed


@pytest.mark.parametrize(
    ("gpus", "fields", "words"),
    [
        (
            [1],
            {"tensor_parallel": 2},
            ["--tensor-parallel 2 needs 2 CUDA devices", "there is 1 (host0: 1)", "--tensor-parallel 1"],
        ),
        ([2, 1], {"tensor_parallel": 2, "replicas": 2}, ["are 3 (host0: 2, host1: 1)", "--replicas 1 fits"]),
        ([0], {"replicas": 2}, ["there are none", "--device cpu"]),
    ],
)
def test_fewer_devices_than_ranks_are_refused(gpus, fields, words):
    resources = Resources(tuple(Host(f"host{i}", 16, n, 64 * GIB) for i, n in enumerate(gpus)))
    with pytest.raises(BadInput) as caught:
        fit(asked(device="cuda", **fields), resources, "cuda")
    for word in words:
        assert word in str(caught.value)


def test_each_rank_has_a_device():
    placed = fit(asked(tensor_parallel=2, replicas=2), machines(16, gpus=4), "cuda", 100 * GIB)
    assert (placed.gpus_per_rank, placed.threads_per_rank, placed.shared_cores) == (1, 4, False)
    assert fit(asked(replicas=4), machines(2, gpus=4), "cuda").shared_cores


def test_memory_is_looked_at_by_the_share_of_a_rank():
    four = 4 * GIB
    assert fit(asked(tensor_parallel=2), machines(4, 4, memory=3 * GIB), "cpu", four).threads_per_rank == 4
    assert fit(asked(replicas=2), machines(4, memory=9 * GIB), "cpu", four).threads_per_rank == 2
    with pytest.raises(BadInput, match=r"--replicas 3 needs at least 12 GiB .* 9 GiB .*; --replicas 2 fits"):
        fit(asked(replicas=3), machines(4, memory=9 * GIB), "cpu", four)
    with pytest.raises(BadInput, match=r"--tensor-parallel 2 needs at least 4 GiB .* \(host0: 3 GiB\); more"):
        fit(asked(tensor_parallel=2), machines(4, memory=3 * GIB), "cpu", four)


def test_memory_decides_where_ranks_go_and_so_how_many_cores_they_have():
    placed = fit(
        asked(replicas=2),
        Resources((Host("small", 64, 0, GIB), Host("large", 4, 0, 64 * GIB))),
        "cpu",
        2 * GIB,
    )
    assert placed.threads_per_rank == 2


def test_a_head_without_cores_takes_no_rank():
    cluster = machines(0, 4, 4)
    placed = fit(asked(replicas=2), cluster, "cpu", 4 * GIB)
    assert (placed.threads_per_rank, placed.shared_cores) == (4, False)
    with pytest.raises(BadInput, match=r"--replicas 9 needs at least 36 GiB .* there is 32 GiB"):
        fit(asked(replicas=9), cluster, "cpu", 4 * GIB)
    with pytest.raises(BadInput, match="No machine of the Ray cluster has a core"):
        fit(asked(replicas=2), machines(0), "cpu")


def test_shards_need_room_in_shared_memory():
    docker = machines(4, shared=64 << 20)
    with pytest.raises(BadInput, match=r"144 MiB in /dev/shm, and 64 MiB are free; .*--shm-size"):
        fit(asked(tensor_parallel=2), docker, "cpu")
    assert fit(asked(replicas=2), docker, "cpu").threads_per_rank == 2
    enough = machines(4, shared=2 * SHARED_BUFFER_BYTES)
    assert fit(asked(tensor_parallel=2), enough, "cpu").threads_per_rank == 2
