"""What can be known to be wrong with a space before a model is looked for."""

from __future__ import annotations

from lsbench.errors import BadInput
from lsbench.strategy import registry
from lsbench.tuning.narrowing import read_mapping
from lsbench.tuning.skip_sets import SkipSets, ranking
from lsbench.tuning.space_building import build_space
from lsbench.tuning.spec import TuneSpec

_MANY_LAYERS = 1000
"""More than any model has: what is refused for it is refused for every model."""
_CALIBRATED = "threshold"


def check_space(spec: TuneSpec) -> None:
    """Refuse a space that no model could have.

    Raises:
        BadInput: an unknown strategy or option (with the nearest valid name), a value that no model could
            take, nothing to search, a threshold to calibrate where there is none or it is fixed.
    """
    strategy = registry.load_strategy(spec.strategy.name)
    narrowed, fixed = read_mapping(spec.space)
    some = ranking([(f"{layer}.{half}", 1.0, 1.0) for layer in range(1, 5) for half in ("attention", "mlp")])
    skip_sets = None if spec.skip_sets == "off" else SkipSets(some, spec.skip_sets)
    build_space(spec.with_fixed(fixed), _MANY_LAYERS, narrowed, skip_sets)
    if spec.risk is None:
        return
    if _CALIBRATED not in strategy.Options.model_fields:
        raise BadInput(
            f"--risk calibrates an option named {_CALIBRATED!r}, and {spec.strategy.name!r} has none; tune "
            "dynamic_exit with it, or leave --risk out"
        )
    if _CALIBRATED in {**spec.strategy.options, **fixed}:
        raise BadInput(f"--risk calibrates {_CALIBRATED!r}, which is fixed; leave out one of the two")
