"""Tasks by name: ours, those of ``--include-path`` and lm-eval's own, found, checked and loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lsbench.errors import BadInput, LsbenchError, Unavailable, unknown
from lsbench_tasks import DATA, NAMES, OFFLINE, PATH
from lsbench_tasks.jsonl.lines import BadLines
from lsbench_tasks.splits import UnusableCopy

if TYPE_CHECKING:
    from lm_eval.api.task import Task
    from lm_eval.tasks import TaskManager

    from lsbench.spec import RunSpec

Source = Literal["lsbench", "include path", "lm-eval"]

_NETWORK = ("huggingface_hub", "requests", "httpx", "httpcore", "urllib3", "aiohttp", "datasets.exceptions")


@dataclass(frozen=True)
class TaskListing:
    """One name that ``--tasks`` accepts."""

    name: str
    kind: Literal["task", "group"]
    """A group stands for several tasks."""
    source: Source
    """Where it is defined."""
    data: str
    """Where its documents come from, in a few words; empty where that is not known."""


def list_tasks(include_path: str | None = None, builtin: bool = True) -> tuple[TaskListing, ...]:
    """Every name there is: ours first, then those of ``include_path``, then lm-eval's, each by name.

    Args:
        include_path: a folder with further task YAML.
        builtin: whether to read lm-eval's own index too, which takes about 7 seconds.

    Raises:
        BadInput: ``include_path`` is not a folder.
    """
    order: tuple[Source, ...] = ("lsbench", "include path", "lm-eval")
    index = _manager(_folder(include_path), builtin).task_index
    listings = [
        TaskListing(
            name=name,
            kind="task" if entry.kind.name in ("TASK", "PY_TASK") else "group",
            source=_source(entry.yaml_path, include_path),
            data=DATA.get(name, "") if _is_ours(entry.yaml_path) else "",
        )
        for name, entry in index.items()
    ]
    return tuple(sorted(listings, key=lambda task: (order.index(task.source), task.name)))


def check_task_names(names: Sequence[str], include_path: str | None = None) -> None:
    """Refuse what cannot be run, before anything is loaded; instant when every task is ours.

    Raises:
        BadInput: no name, a name nothing answers to (with the nearest that exists), a task that would
            run generated code outside the sandbox, or an ``include_path`` that is not a folder.
    """
    folder = _folder(include_path)
    if not names:
        raise BadInput("No task was given; name at least one with --tasks, such as --tasks humaneval.")
    if folder is None and set(names) <= set(NAMES):
        return
    find_tasks(names, folder)


def load_tasks(spec: RunSpec) -> dict[str, Task]:
    """The run's tasks as lm-eval objects, groups expanded, set up as lm-eval's evaluator would.

    Few-shot examples are drawn with lm-eval's own default seed whatever ``spec.seed`` is, so that every
    run and every model is asked the same questions. Call inside ``isolation.isolated``.

    Raises:
        BadInput: as ``check_task_names``, or a task that cannot be loaded.
        Unavailable: a task's data cannot be fetched.
    """
    from lm_eval.defaults import DEFAULT_OTHER_SEED

    manager = find_tasks(spec.tasks, _folder(spec.include_path))
    tasks: dict[str, Task] = {}
    for name in dict.fromkeys(spec.tasks):
        for task_name, task in _load(name, manager).items():
            tasks.setdefault(task_name, task)
    for name, task in tasks.items():
        _check_loaded(name, task)
        fixed = task.get_config("num_fewshot")
        if fixed is None or (spec.num_fewshot is not None and fixed != 0):
            # A task that fixes 0 examples cannot take any (its prompt would make no sense).
            task.set_config("num_fewshot", spec.num_fewshot or 0)
        task.set_fewshot_seed(DEFAULT_OTHER_SEED)
        _end_at_examples(task)
        if spec.repeats > 1 and task.get_config("output_type") == "generate_until":
            task.set_config("repeats", spec.repeats)
    return tasks


def data_environment(spec: RunSpec) -> dict[str, str]:
    """The environment variables through which our own tasks find their data, prepared if need be.

    Raises:
        BadInput: the task ``jsonl`` without a file.
        Unavailable: the data is neither cached nor can it be fetched.
    """
    manager = find_tasks(spec.tasks, _folder(spec.include_path))
    index = manager.task_index
    paths = [index[name].yaml_path for name in _leaves(spec.tasks, index) if name in index]
    ours = {path.parent.name for path in paths if path is not None and _is_ours(path)}
    variables: dict[str, str] = {}
    if "humaneval" in ours:
        from lsbench import catalog
        from lsbench_tasks.humaneval.problems import VARIABLE

        variables[VARIABLE] = str(catalog.prepare_data("humaneval"))
    if "jsonl" in ours:
        from lsbench.evaluation.own_data import own_environment

        variables |= own_environment(spec)
    return variables


def is_ours(task: Task) -> bool:
    """Whether a loaded task is defined below ``lsbench_tasks``."""
    metadata = task.get_config("metadata")
    source = metadata.get("config_source") if isinstance(metadata, dict) else None
    return source is not None and _is_ours(Path(source))


def _manager(folder: Path | None, builtin: bool) -> TaskManager:
    """lm-eval's index of task files, read again only when those of the include path have changed."""
    files = sorted(folder.rglob("*.yaml")) if folder else []
    return _read_index(folder, builtin, tuple((file, file.stat().st_mtime_ns) for file in files))


@lru_cache(maxsize=4)
def _read_index(folder: Path | None, builtin: bool, files: tuple[tuple[Path, int], ...]) -> TaskManager:
    """Later folders take precedence; ``files`` only tells one state of a folder from another."""
    from lm_eval.tasks import TaskManager

    from lsbench.evaluation.isolation import isolated

    with isolated():
        return TaskManager(include_path=[PATH, *([folder] if folder else [])], include_defaults=builtin)


def find_tasks(names: Sequence[str], folder: Path | None) -> TaskManager:
    """lm-eval's index with every name and all that it stands for; its built-in tasks only if needed.

    Reading those takes about 7 seconds. Ours and those of ``folder`` take precedence over them.

    Raises:
        BadInput: no name, an unknown one, or one that stands for a task with unconfined code.
    """
    if not names:
        raise BadInput("No task was given; name at least one with --tasks, such as --tasks humaneval.")
    manager = _manager(folder, False)
    leaves = list(_leaves(names, manager.task_index))
    if any(name not in manager.task_index or _is_tag(manager, name) for name in [*names, *leaves]):
        manager = _manager(folder, True)
    index = manager.task_index
    for name in names:
        if name not in index:
            raise unknown("task", name, index)
    for name in _leaves(names, index):
        if (
            name in index
            and (index[name].cfg or {}).get("unsafe_code")
            and not _is_ours(index[name].yaml_path)
        ):
            raise _unconfined(name)
    return manager


def _is_tag(manager: TaskManager, name: str) -> bool:
    return manager.task_index[name].kind.name == "TAG"


def _leaves(names: Iterable[str], index: dict[str, Any]) -> Iterator[str]:
    """The tasks that names stand for, through groups and tags, as far as the index knows them."""
    for name in names:
        entry = index.get(name)
        if entry is None:
            yield name
        elif entry.kind.name == "TAG":
            yield from _leaves(sorted(entry.tags), index)
        elif entry.kind.name == "GROUP":
            yield from _leaves(_members(entry.cfg or {}), index)
        else:
            yield name


def _members(group: dict[str, Any]) -> Iterator[str]:
    listed = group.get("task")
    for item in listed if isinstance(listed, list) else []:
        if isinstance(item, str):
            yield item
        elif isinstance(item.get("task"), str):
            yield item["task"]
        elif isinstance(item.get("task"), list):
            yield from _members(item)
        elif "group" in item:
            yield item["group"]


def _load(name: str, manager: TaskManager) -> dict[str, Task]:
    try:
        return manager.load([name])["tasks"]
    except LsbenchError:
        raise
    except (BadLines, UnusableCopy) as error:
        raise BadInput(f"Task {name!r}: {error}.") from error
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        if _is_network(error):
            raise Unavailable(
                f"Task {name!r} needs something from the Hugging Face hub that cannot be had ({reason}). "
                f"Tasks that need no hub: {', '.join(OFFLINE)}."
            ) from error
        raise BadInput(f"Task {name!r} cannot be loaded: {type(error).__name__}: {reason}") from error


def _end_at_examples(task: Task) -> None:
    """Have an answer end where the next example would begin, for a task that says how that looks."""
    metadata, wanted = task.get_config("metadata"), task.get_config("num_fewshot")
    ends = metadata.get("fewshot_until") if isinstance(metadata, dict) else None
    if ends and wanted:
        arguments = task.get_config("generation_kwargs") or {}
        task.set_config("generation_kwargs", {**arguments, "until": [*(arguments.get("until") or []), *ends]})


def _check_loaded(name: str, task: Task) -> None:
    if getattr(task, "MULTIMODAL", False):
        raise BadInput(f"Task {name!r} needs images or audio; lsbench runs text-only models.")
    if getattr(task, "UNSAFE_CODE", False) and not is_ours(task):
        raise _unconfined(name)


def _unconfined(name: str) -> BadInput:
    return BadInput(
        f"Task {name!r} would run generated code outside lsbench's sandbox. Use humaneval or mbpp, or a task "
        "whose metric runs code through lsbench_tasks.execution (it needs no unsafe_code)."
    )


def _is_network(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, (ConnectionError, TimeoutError)) or type(error).__module__.startswith(_NETWORK):
            return True
        if isinstance(error, FileNotFoundError) and "Hub" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _folder(include_path: str | None) -> Path | None:
    if include_path is None:
        return None
    folder = Path(include_path).expanduser().resolve()
    if not folder.is_dir():
        raise BadInput(
            f"--include-path {include_path!r} is not a folder; give one that holds task YAML files."
        )
    return folder


def _is_ours(path: Path | None) -> bool:
    return path is not None and path.resolve().is_relative_to(PATH.resolve())


def _source(path: Path | None, include_path: str | None) -> Source:
    if _is_ours(path):
        return "lsbench"
    folder = _folder(include_path)
    if path is not None and folder is not None and path.resolve().is_relative_to(folder):
        return "include path"
    return "lm-eval"
