from lsbench.strategy.conformance import check_strategy


def test_keeps_the_contract_of_lsbench():
    report = check_strategy("prompt_lookup")
    assert report.ok, report
