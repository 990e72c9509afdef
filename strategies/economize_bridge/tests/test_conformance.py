import pytest

from lsbench.strategy.conformance import check_strategy

STRATEGIES = [
    "economize_early_exit:exit_layer=2",
    "economize_layer_skip:num_skip=1",
    "economize_lookup",
    "economize_calm:threshold=0.1",
]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_keeps_the_contract_of_lsbench(strategy):
    report = check_strategy(strategy)
    assert report.ok, report
