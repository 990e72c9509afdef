"""From the command line and a configuration file to a ``RunSpec``.

Flags override the file, the file the defaults.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsbench.errors import BadInput, unknown
from lsbench.evaluation.own_data import OF_DATA, TASK
from lsbench.spec import RunSpec, StrategyChoice, parse_strategy

if TYPE_CHECKING:
    from pydantic import ValidationError

_MODEL_ARGS = {"pretrained": "model", "revision": "revision", "dtype": "dtype", "device": "device"}
_GEN_KWARGS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "max_gen_toks": "max_new_tokens",
    "max_new_tokens": "max_new_tokens",
    "do_sample": "do_sample",
}
_FLAGS = {"strategies": "--strategy"}
"""Fields whose flag is not the field's own name."""


def build_spec(given: Mapping[str, Any], config: Path | None = None, base: RunSpec | None = None) -> RunSpec:
    """One spec from all that was given.

    Args:
        given: flags by their field's name, those not given left out. ``strategies`` holds texts as
            ``--strategy`` takes them, ``tasks`` texts with commas, ``model_args`` and ``gen_kwargs``
            lm-eval's ``key=value,...``.
        config: a YAML or JSON file of spec fields.
        base: what holds where neither says anything; None means the defaults.

    Raises:
        BadInput: an unknown key (with the nearest valid one), a value out of range or ill-typed, one
            field given twice, no task.
    """
    from pydantic import ValidationError

    fields: dict[str, Any] = dict(base) if base is not None else {}
    if config is not None:
        fields.update(_read_config(config))
    fields.update(_flags(given))
    fields["strategies"] = tuple(map(_strategy, _items(fields.get("strategies"))))
    fields["tasks"] = _tasks(fields.get("tasks"))
    if given.get("tasks") and TASK not in fields["tasks"]:
        # A configuration made for a file serves other tasks too, such as what a search on that file found.
        fields = {name: value for name, value in fields.items() if name not in OF_DATA or name in given}
    if not fields["tasks"]:
        raise BadInput("No task given; add --tasks NAME[,NAME...] (`lsbench ls tasks` lists them)")
    try:
        return RunSpec.model_validate(fields)
    except ValidationError as error:
        raise explained(error) from error


def as_yaml(spec: RunSpec) -> str:
    """The spec as a file that ``--config`` reads."""
    import yaml

    return yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _flags(given: Mapping[str, Any]) -> dict[str, Any]:
    """Flags as fields; ``model_args`` and ``gen_kwargs`` are opened, and may not contradict the others."""
    fields = {key: value for key, value in given.items() if key not in ("model_args", "gen_kwargs")}
    for name, known in (("model_args", _MODEL_ARGS), ("gen_kwargs", _GEN_KWARGS)):
        flag = "--" + name.replace("_", "-")
        for field, value in _pairs(given.get(name) or "", flag, known).items():
            if str(fields.setdefault(field, value)) != value:
                raise BadInput(f"{_flag(field)} {fields[field]} and {flag} {given[name]!r} differ; give one")
    sample = fields.pop("do_sample", None)
    if sample is not None:
        _check_do_sample(sample, fields)
    return fields


def _pairs(text: str, flag: str, known: Mapping[str, str]) -> dict[str, str]:
    """lm-eval's ``key=value,...`` by field of the spec."""
    fields: dict[str, str] = {}
    for part in filter(str.strip, text.split(",")):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise BadInput(f"{flag} {text!r}: {part.strip()!r} is not of the form key=value")
        if key not in known:
            raise unknown(f"key in {flag}", key, known)
        fields[known[key]] = value
    return fields


def _check_do_sample(text: str, fields: dict[str, Any]) -> None:
    """Sampling follows from the temperature here: what lm-eval's ``do_sample`` says must agree with it."""
    wanted = {"true": True, "1": True, "false": False, "0": False}.get(text.lower())
    if wanted is None:
        raise BadInput(f"--gen-kwargs do_sample={text}: write true or false")
    temperature = fields.get("temperature")
    if not wanted and temperature is None:
        fields["temperature"] = 0.0
    elif wanted != (temperature is not None and str(temperature) not in ("0", "0.0")):
        raise BadInput(
            f"--gen-kwargs do_sample={text}: sampling follows from the temperature here; "
            + ("give temperature=T above 0 too" if wanted else "leave out the temperature, or give 0")
        )


def _read_config(path: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise BadInput(f"--config {path}: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"--config {path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise BadInput(
            f"--config {path} holds no fields; `lsbench run ... --print-config` shows what it can hold"
        )
    for key in content:
        if key not in RunSpec.model_fields:
            raise unknown(f"field in --config {path}", str(key), RunSpec.model_fields)
    return content


def _items(value: object) -> Iterable[object]:
    """Several where a list is given, one where a single value stands for it, none where nothing does."""
    if value is None:
        return ()
    return value if isinstance(value, list | tuple) else (value,)


def _strategy(item: object) -> object:
    """A text is read here; a mapping of name and options is left to the spec's own check."""
    if isinstance(item, str):
        return parse_strategy(item)
    if isinstance(item, StrategyChoice | dict):
        return item
    raise BadInput(f"strategies: {item!r} is neither NAME:key=value,... nor a mapping of name and options")


def _tasks(value: object) -> tuple[str, ...]:
    names = [name.strip() for item in _items(value) for name in str(item).split(",") if name.strip()]
    return tuple(dict.fromkeys(names))


def explained(error: ValidationError, flags: Mapping[str, str] = _FLAGS) -> BadInput:
    """The first thing that is wrong with a spec, by the flag that it was given with.

    Args:
        error: of validating it.
        flags: of fields whose flag is not the field's own name.
    """
    problem = error.errors(include_url=False)[0]
    name, *within = map(str, problem["loc"] or ("configuration",))
    place = f", {'.'.join(within)}" if within else ""
    return BadInput(f"{_flag(name, flags)}{place} {problem['input']!r}: {problem['msg']}")


def _flag(field: str, flags: Mapping[str, str] = _FLAGS) -> str:
    return flags.get(field, "--" + field.replace("_", "-"))
