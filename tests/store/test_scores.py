from __future__ import annotations

import pytest

from lsbench.errors import DamagedResults
from lsbench.store.scores import SCORES, read_scores, write_scores
from support.stored_runs import Made, make_run

MADE = {"autoregressive": Made([1, 1, 1], (True, False, True))}


def test_scores_come_back_by_document(tmp_path):
    folder = make_run(tmp_path, MADE)
    found = read_scores(folder)
    assert found is not None
    values = found.strategies["autoregressive"]["things"]
    assert values.per_doc == {"exact_match": {0: 1, 1: 0, 2: 1}}
    assert (values.n, values.failed, values.higher_is_better) == (3, 0, {"exact_match": True})
    with folder:
        folder.hold()
        write_scores(folder, found.strategies)
    assert read_scores(folder) == found


def test_a_metric_of_the_corpus_comes_back_as_what_its_documents_add_to_it(tmp_path):
    folder = make_run(tmp_path, {"autoregressive": Made([1, 1, 1], (True, False, True), alike=(2, 4, 9))})
    found = read_scores(folder)
    assert found is not None
    bleu = found.strategies["autoregressive"]["things"].totals["bleu"]
    assert bleu.parts[2] == (9, 9, 9, 9, 10, 10, 10, 10, 10, 10)
    assert bleu.value([15] * 4 + [30] * 6) == pytest.approx(50)


def test_folders_of_before_have_none_and_damage_is_told(tmp_path):
    folder = make_run(tmp_path, MADE, scores=False)
    assert read_scores(folder) is None
    (folder.path / SCORES).write_text('{"schema": 1}')
    with pytest.raises(DamagedResults, match=r"scores.json is damaged: strategies: .*--rescore"):
        read_scores(folder)
    (folder.path / SCORES).write_text('{"schema": 9, "strategies": {}}')
    with pytest.raises(DamagedResults, match="has schema 9, this lsbench reads 1"):
        read_scores(folder)
