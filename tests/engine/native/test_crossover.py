"""Up to how many rows: what is kept, what is measured again, and what a busy machine is believed."""

import json
import os

import pytest
import torch

from lsbench.engine.native import crossover, library
from lsbench.engine.native.crossover import known_rows, measure_crossover, most_rows
from lsbench.engine.native.library import NativeStatus

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A library that is there and was never measured; two idle cores."""
    monkeypatch.setattr(crossover, "_FOUND", {})
    monkeypatch.setattr(crossover, "library_folder", lambda: tmp_path)
    monkeypatch.setattr(crossover, "prepare", lambda tell: NativeStatus(True, "compiled"))
    monkeypatch.setattr(os, "getloadavg", lambda: (0.5, 9.0, 9.0))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    return tmp_path / "crossover.json"


@pytest.fixture
def measured(monkeypatch):
    """Which precisions were measured, and how many rows come out of it."""

    class Measured(list):
        rows = 24

    said = Measured()

    def measure(dtype):
        said.append(dtype)
        return said.rows

    monkeypatch.setattr(crossover, "measure_crossover", measure)
    return said


def another_process(monkeypatch):
    monkeypatch.setattr(crossover, "_FOUND", {})


def test_it_is_measured_once_for_a_machine(place, measured, monkeypatch):
    said = []
    assert [most_rows(torch.float32, CPU, said.append) for _ in range(3)] == [24] * 3
    another_process(monkeypatch)
    assert most_rows(torch.float32, CPU, said.append) == 24
    assert measured == [torch.float32]
    assert len(said) == 1
    assert json.loads(place.read_text()) == {"most_rows": {"float32/1": 24}}


def test_each_precision_and_number_of_threads_has_its_own(place, measured):
    most_rows(torch.float32, CPU)
    measured.rows = 8
    assert most_rows(torch.bfloat16, CPU) == 8
    torch.set_num_threads(2)
    measured.rows = 4
    assert most_rows(torch.float32, CPU) == 4
    assert json.loads(place.read_text())["most_rows"] == {"float32/1": 24, "bfloat16/1": 8, "float32/2": 4}


def test_a_look_measures_nothing(place, measured, monkeypatch):
    assert known_rows(torch.float32) is None
    most_rows(torch.float32, CPU)
    another_process(monkeypatch)
    assert known_rows(torch.float32) == 24
    assert len(measured) == 1


@pytest.mark.parametrize("damage", ["", "{", '{"most_rows": {"float32/1": "many"}}', '{"rows": 3}'])
def test_a_damaged_file_is_measured_again(place, measured, damage):
    place.write_text(damage)
    assert most_rows(torch.float32, CPU) == 24
    assert json.loads(place.read_text()) == {"most_rows": {"float32/1": 24}}


@pytest.mark.parametrize(("rows", "taken", "kept"), [(2, 8, False), (8, 8, True), (24, 24, True)])
def test_few_rows_are_not_believed_on_a_busy_machine(place, measured, monkeypatch, rows, taken, kept):
    monkeypatch.setattr(os, "getloadavg", lambda: (2.5, 0.0, 0.0))
    measured.rows = rows
    assert most_rows(torch.float32, CPU) == taken
    assert place.exists() is kept


def test_they_are_on_one_that_is_not_or_does_not_tell(place, measured, monkeypatch):
    def untold():
        raise OSError

    measured.rows = 0
    assert most_rows(torch.float32, CPU) == 0
    assert json.loads(place.read_text())["most_rows"] == {"float32/1": 0}
    monkeypatch.setattr(os, "getloadavg", untold)
    assert most_rows(torch.bfloat16, CPU) == 0


def test_where_nothing_can_be_kept_every_process_measures(place, measured, monkeypatch):
    place.mkdir()  # a file cannot take its place
    assert most_rows(torch.float32, CPU) == 24
    another_process(monkeypatch)
    assert most_rows(torch.float32, CPU) == 24
    assert place.is_dir()


@pytest.mark.parametrize(
    ("dtype", "device"), [(torch.float64, CPU), (torch.float16, CPU), (torch.float32, torch.device("cuda"))]
)
def test_there_are_none_for_others(place, measured, dtype, device):
    assert most_rows(dtype, device) == 0
    assert measured == []


def test_without_a_library_nothing_is_measured(place, measured, monkeypatch):
    monkeypatch.setattr(crossover, "prepare", lambda tell: NativeStatus(False, "no compiler"))
    assert most_rows(torch.float32, CPU) == 0
    assert measured == []


@pytest.mark.skipif(not library.prepare().available, reason=library.prepare().detail)
@pytest.mark.parametrize(("wins_up_to", "found"), [(0, 0), (1, 1), (5, 4), (100, 32)])
def test_the_last_number_of_rows_that_wins_counts(monkeypatch, wins_up_to, found):
    def time_taken(shortest, product, x, matrices):
        ours = product is torch.ops.lsbench.product.default
        quick = ours == (len(x) <= wins_up_to)
        for index in range(len(matrices)):
            shortest[index] = 1 if quick else 2

    monkeypatch.setattr(crossover, "_shorten", time_taken)
    monkeypatch.setattr(crossover, "_MATRIX", (4, 8))
    monkeypatch.setattr(crossover, "_BYTES", 3 * 4 * 8 * 4)
    assert measure_crossover(torch.float32) == found


@pytest.mark.skipif(not library.prepare().available, reason=library.prepare().detail)
def test_one_slow_time_does_not_count(monkeypatch):
    """Ours is slow at first, and at its best the faster one."""
    times = {True: iter([9, 9, 9, 9, *[1] * 99]), False: iter([2] * 99)}

    def time_taken(shortest, product, x, matrices):
        taken = next(times[product is torch.ops.lsbench.product.default])
        for index in range(len(matrices)):
            shortest[index] = min(shortest[index], taken)

    monkeypatch.setattr(crossover, "_ROWS", (1,))
    monkeypatch.setattr(crossover, "_shorten", time_taken)
    monkeypatch.setattr(crossover, "_MATRIX", (4, 8))
    monkeypatch.setattr(crossover, "_BYTES", 4 * 8 * 4)
    assert measure_crossover(torch.float32) == 1
