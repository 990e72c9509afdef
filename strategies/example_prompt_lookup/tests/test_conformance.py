import pytest

from lsbench.strategy.conformance import check_strategy, random_bench


# Deep random models repeat themselves less, and less of what is copied is accepted.
@pytest.mark.parametrize("num_layers", [4, 12])
def test_keeps_the_contract_of_lsbench(num_layers):
    report = check_strategy("prompt_lookup", bench=random_bench(num_layers))
    assert report.ok, report
