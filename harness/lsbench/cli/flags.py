"""From the command line and a configuration file to a ``RunSpec``: flags override the file, the file the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lsbench.errors import BadInput, unknown
from lsbench.spec import RunSpec, StrategyChoice, parse_strategy

_MODEL_ARGS = {"pretrained": "model", "revision": "revision", "dtype": "dtype", "device": "device"}
_GEN_KWARGS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "max_gen_toks": "max_new_tokens",
    "max_new_tokens": "max_new_tokens",
}
_FLAG_NAMES = {"strategies": "strategy"}


def build_spec(given: Mapping[str, Any], config: Path | None = None) -> RunSpec:
    """One spec from all that was given.

    Args:
        given: flags by their field's name, those not given left out. ``strategies`` holds texts as
            ``--strategy`` takes them, ``tasks`` texts with commas, ``model_args`` and ``gen_kwargs``
            lm-eval's ``key=value,...``.
        config: a YAML or JSON file of spec fields.

    Raises:
        BadInput: an unknown key (with the nearest valid one), a value out of range or ill-typed, no task.
    """
    from pydantic import ValidationError

    fields: dict[str, Any] = {**_read_config(config)} if config is not None else {}
    flags = dict(given)
    fields.update(_pairs(flags.pop("model_args", None), "--model-args", _MODEL_ARGS))
    fields.update(_pairs(flags.pop("gen_kwargs", None), "--gen-kwargs", _GEN_KWARGS))
    fields.update(flags)
    fields["strategies"] = tuple(_strategy(item) for item in fields.get("strategies") or ())
    fields["tasks"] = tuple(_tasks(fields.get("tasks")))
    if not fields["tasks"]:
        raise BadInput("No task given; add --tasks NAME[,NAME...] (`lsbench ls tasks` lists them)")
    try:
        return RunSpec.model_validate(fields)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        name = str(problem["loc"][0]) if problem["loc"] else "configuration"
        flag = _FLAG_NAMES.get(name, name).replace("_", "-")
        raise BadInput(f"--{flag} {fields.get(name)!r}: {problem['msg']}") from error


def as_yaml(spec: RunSpec) -> str:
    """The spec as a file that ``--config`` reads."""
    import yaml

    return yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _read_config(path: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise BadInput(f"--config {path}: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"--config {path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise BadInput(f"--config {path} holds no fields; `lsbench run ... --print-config` shows what it can hold")
    for key in content:
        if key not in RunSpec.model_fields:
            raise unknown(f"field in --config {path}", str(key), RunSpec.model_fields)
    return content


def _strategy(item: object) -> StrategyChoice:
    if isinstance(item, StrategyChoice):
        return item
    if isinstance(item, str):
        return parse_strategy(item)
    if isinstance(item, dict) and isinstance(item.get("name"), str) and set(item) <= {"name", "options"}:
        return StrategyChoice(name=item["name"], options=item.get("options") or {})
    raise BadInput(f"strategies: {item!r} is neither NAME:key=value,... nor a mapping of name and options")


def _tasks(value: object) -> list[str]:
    items = [value] if isinstance(value, str) else list(value) if isinstance(value, list | tuple) else []
    names = [name.strip() for item in items for name in str(item).split(",") if name.strip()]
    return list(dict.fromkeys(names))


def _pairs(text: str | None, flag: str, known: Mapping[str, str]) -> dict[str, Any]:
    """lm-eval's ``key=value,...`` to fields of the spec."""
    import yaml

    fields: dict[str, Any] = {}
    for part in (text or "").split(","):
        if not part.strip():
            continue
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise BadInput(f"{flag} {text!r}: {part.strip()!r} is not of the form key=value")
        if key == "do_sample" and flag == "--gen-kwargs":
            if yaml.safe_load(value) is not False:
                raise BadInput(f"{flag} do_sample={value}: sampling follows from temperature here; give temperature=T")
            fields["temperature"] = 0.0
            continue
        if key not in known:
            raise unknown(f"key in {flag}", key, known)
        fields[known[key]] = yaml.safe_load(value)
    return fields
