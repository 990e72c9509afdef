"""A call into lm-eval leaves no trace and draws from lm-eval's own seeds."""

import logging
import os
import random

import numpy
import pytest

from lsbench.evaluation.isolation import isolated


def test_random_generators_are_seeded_and_restored():
    random.seed(99)
    numpy.random.seed(99)
    expected = (random.random(), numpy.random.random())
    random.seed(99)
    numpy.random.seed(99)
    drawn = []
    for _ in range(2):
        with isolated():
            drawn.append((random.random(), numpy.random.random()))
    assert drawn[0] == drawn[1] != expected
    assert (random.random(), numpy.random.random()) == expected


def test_environment_loggers_and_bars_come_back_even_after_an_error(capsys):
    import tqdm

    logger, level, init = logging.getLogger("lm_eval"), logging.getLogger("lm_eval").level, tqdm.tqdm.__init__
    os.environ.pop("LSBENCH_TEST_VARIABLE", None)

    def disturb():
        with isolated({"LSBENCH_TEST_VARIABLE": "1"}):
            assert os.environ["LSBENCH_TEST_VARIABLE"] == "1"
            assert os.environ["HF_ALLOW_CODE_EVAL"] == "0"
            logger.error("not for the terminal")
            print("nor this")
            list(tqdm.tqdm(range(3)))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        disturb()
    assert "LSBENCH_TEST_VARIABLE" not in os.environ
    assert logger.level == level
    assert tqdm.tqdm.__init__ is init
    printed = capsys.readouterr()
    assert printed.out == printed.err == ""
    list(tqdm.tqdm(range(3)))
    assert "3/3" in capsys.readouterr().err


def test_nothing_reaches_the_terminal_from_building_to_scoring(spec_for, tokenizer, plain_model, capfd):
    from lsbench.evaluation.requests import build_requests
    from lsbench.evaluation.scores import score_records

    spec = spec_for("tiny_choice", "tiny_target", "tiny_rolling", "tiny_generate")
    built = build_requests(spec, tokenizer, 96, (1,))
    plain = plain_model(tokenizer)
    records = [plain.answer(request) for request in built.requests]
    capfd.readouterr()
    score_records(spec, records, None, None)
    build_requests(spec, tokenizer, 96, (1,))
    printed = capfd.readouterr()
    assert printed.out == printed.err == ""
