from __future__ import annotations

from collections.abc import Callable

import pytest

from lsbench.tuning.trials import Trial


@pytest.fixture
def make_trial() -> Callable[..., Trial]:
    """``make_trial(number, **fields)``: a timed trial of ``static_exit`` that went well."""

    def make(number: int = 0, **changes: object) -> Trial:
        options = {"exit_layer": 20 + number}
        fields: dict[str, object] = {
            "number": number,
            "kind": "timed",
            "status": "ok",
            "strategy": "static_exit",
            "options": options,
            "label": f"static_exit:exit_layer={20 + number}",
            "point": {
                "exit_layer": 20 + number,
                "kv_fill": "mask",
                "gate?": False,
                "share": 0.25,
                "none": None,
            },
            "speedup": 1.2,
            "speedup_ci95": (1.1, 1.3),
            "quality": 0.99,
            "quality_name": "token_agreement",
            "quality_bound": 0.985,
            "prompts": 20,
            "seconds": 12.5,
            "seed": 7,
        }
        return Trial.model_validate({**fields, **changes})

    return make
