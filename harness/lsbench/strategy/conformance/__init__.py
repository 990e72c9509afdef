"""The conformance kit: proves that a strategy keeps the contract. A package's own test is three lines.

from lsbench.strategy.conformance import check_strategy

def test_keeps_the_contract():
    report = check_strategy("my_strategy")
    assert report.ok, report
"""

from lsbench.strategy.conformance.bench import Bench, random_bench
from lsbench.strategy.conformance.kit import check_strategy
from lsbench.strategy.conformance.real_model import real_bench
from lsbench.strategy.conformance.result import CheckResult, Report

__all__ = ["Bench", "CheckResult", "Report", "check_strategy", "random_bench", "real_bench"]
