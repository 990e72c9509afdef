"""What a plugin's own modules import of lsbench: public names, nothing else."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from lsbench.strategy import Strategy
from lsbench.strategy.conformance.bench import Subject
from lsbench.strategy.conformance.result import Failed, NotApplicable

_PUBLIC = ("lsbench.strategy", "lsbench.engine", "lsbench.records", "lsbench.strategy.conformance")


def public_names_only(subject: Subject) -> str:
    """Of lsbench, the plugin's modules import only public names of its strategy, engine and records."""
    files = plugin_files(subject.strategy)
    for file in files:
        for line, complaint in _complaints(ast.parse(file.read_bytes(), file.name)):
            raise Failed(
                f"{file.name}, line {line}: {complaint}; public are the names of {', '.join(_PUBLIC[:3])}"
            )
    return f"{len(files)} file{'s' * (len(files) != 1)}"


def plugin_files(strategy: type[Strategy]) -> list[Path]:
    """The source files of the package, or of the single module, that a strategy is written in.

    Raises:
        NotApplicable: there is no source to read.
    """
    top = sys.modules.get(strategy.__module__.partition(".")[0])
    folders = [Path(folder) for folder in getattr(top, "__path__", ())]
    files = sorted(file for folder in folders for file in folder.rglob("*.py"))
    if files:
        return files
    try:
        return [Path(inspect.getfile(strategy))]
    except (OSError, TypeError) as error:
        raise NotApplicable(f"no source of {strategy.__module__} is to be found") from error


def _complaints(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and what is wrong there."""
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if not _is_ours(alias.name):
                    continue
                if alias.name not in (*_PUBLIC, "lsbench"):
                    yield node.lineno, f"imports {alias.name}"
                aliases[alias.asname or "lsbench"] = alias.name if alias.asname else "lsbench"
        elif isinstance(node, ast.ImportFrom) and not node.level and _is_ours(node.module or ""):
            module = node.module or ""
            for alias in node.names:
                whole = f"{module}.{alias.name}"
                if whole in _PUBLIC:
                    aliases[alias.asname or alias.name] = whole
                elif not _is_public(module, alias.name):
                    yield node.lineno, f"imports {alias.name} from {module}"
        elif isinstance(node, ast.Call):
            named = _imported_by_call(node)
            if _is_ours(named) and named not in _PUBLIC:
                yield node.lineno, f"imports {named}"
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        owner = _module_named(node.value, aliases)
        if owner and f"{owner}.{node.attr}" not in _PUBLIC and not _is_public(owner, node.attr):
            yield node.lineno, f"uses {owner}.{node.attr}"


def _is_ours(module: str) -> bool:
    return module == "lsbench" or module.startswith("lsbench.")


def _is_public(module: str, name: str) -> bool:
    if module not in _PUBLIC:
        return False
    home = import_module(module)
    listed: list[str] | None = getattr(home, "__all__", None)
    if listed is not None:
        return name in listed or name == "*"
    return not name.startswith("_") and getattr(getattr(home, name, None), "__module__", module) == module


def _imported_by_call(node: ast.Call) -> str:
    """The module that ``import_module("...")`` or ``__import__("...")`` names, or nothing."""
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if called not in ("import_module", "__import__") or not node.args:
        return ""
    first = node.args[0]
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else ""


def _module_named(node: ast.expr, aliases: dict[str, str]) -> str | None:
    """The module of ours that an expression stands for."""
    if isinstance(node, ast.Name):
        return aliases.get(node.id)
    if isinstance(node, ast.Attribute) and (owner := _module_named(node.value, aliases)) is not None:
        whole = f"{owner}.{node.attr}"
        return whole if whole in _PUBLIC else None
    return None
