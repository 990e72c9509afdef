"""A user's own prompts: the file of ``--data``, judged before anything is loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsbench.errors import BadInput
from lsbench.spec import RunSpec
from lsbench_tasks.jsonl.lines import PROMPT, REFERENCE, BadLines, divided

if TYPE_CHECKING:
    from lm_eval.api.task import Task

TASK = "jsonl"
"""The task that reads it."""
OF_DATA = ("data", "data_prompt", "data_reference", "data_fewshot")
"""The fields of a run that are about the file."""


def check_data(spec: RunSpec) -> None:
    """Refuse a file that cannot be used as it is, or that no task would read.

    Raises:
        BadInput: naming the first bad lines by number, and how many there are.
    """
    if TASK not in spec.tasks:
        given = next((name for name in OF_DATA if getattr(spec, name) is not None), None)
        if given is not None:
            raise BadInput(
                f"{_flag(given)} {getattr(spec, given)!r} is for the task {TASK!r}, which is not among "
                f"--tasks {','.join(spec.tasks)}; add --tasks {TASK}, or leave {_flag(given)} out."
            )
        return
    if spec.data is None:
        raise BadInput(
            f"Task {TASK!r} reads a file of yours; add --data FILE: one JSON object a line, with the fields "
            f"{PROMPT!r} and {REFERENCE!r} (--data-prompt and --data-reference name others)."
        )
    if spec.data_fewshot is not None:
        if not spec.num_fewshot:
            raise BadInput(
                f"--data-fewshot {spec.data_fewshot!r} gives examples, but none are asked for; add "
                "--num-fewshot N, or leave it out."
            )
        if Path(spec.data_fewshot).expanduser().resolve() == Path(spec.data).expanduser().resolve():
            raise BadInput(
                f"--data-fewshot {spec.data_fewshot!r} is the file of --data; leave it out, and its first "
                f"{spec.num_fewshot} lines are set aside as examples."
            )
    fewshot = Path(spec.data_fewshot).expanduser() if spec.data_fewshot else None
    prompt, reference = spec.data_prompt or PROMPT, spec.data_reference or REFERENCE
    try:
        divided(Path(spec.data).expanduser(), prompt, reference, spec.num_fewshot or 0, fewshot)
    except BadLines as error:
        raise BadInput(f"--data {spec.data}: {error}.") from error
    except OSError as error:
        raise BadInput(f"Cannot read {error.filename or spec.data}: {error.strerror or error}.") from error


def own_environment(spec: RunSpec) -> dict[str, str]:
    """The variables through which the task finds the file.

    Raises:
        BadInput: no file was given.
    """
    from lsbench_tasks.jsonl import documents

    if spec.data is None:
        check_data(spec.model_copy(update={"tasks": (TASK,)}))
    return {
        documents.VARIABLE: spec.data or "",
        documents.PROMPT_VARIABLE: spec.data_prompt or "",
        documents.REFERENCE_VARIABLE: spec.data_reference or "",
        documents.EXAMPLES_VARIABLE: str(spec.num_fewshot or 0),
        documents.FEWSHOT_VARIABLE: spec.data_fewshot or "",
    }


def remarks(spec: RunSpec, task: Task) -> Iterator[str]:
    """What a reader of the results must know of the loaded task ``jsonl``."""
    from lsbench_tasks.texts import has_words

    documents: Any = task.eval_docs
    references = [each for document in documents for each in document["references"]]
    wordless = sum(not has_words(each) for each in references)
    if not references:
        yield (
            f"Task {TASK!r} has no references, so nothing is scored; fidelity alone says how a strategy's "
            "outputs differ from the full model's."
        )
    if wordless:
        yield (
            f"Task {TASK!r}: {wordless} of {len(references)} references hold no word that ROUGE knows "
            "(unaccented Latin letters, digits), so that their ROUGE is 0 whatever is written; see BLEU."
        )
    if spec.num_fewshot and spec.data_fewshot is None:
        which = "line 1" if spec.num_fewshot == 1 else f"the first {spec.num_fewshot} lines"
        yield f"Task {TASK!r}: {which} of {spec.data} served as examples before every prompt, not evaluated."


def file_hashes(spec: RunSpec) -> dict[str, str]:
    """SHA-256 of every file of the user's that holds documents, by the name it was given.

    Raises:
        BadInput: a file cannot be read.
    """
    hashes: dict[str, str] = {}
    for name in filter(None, (spec.data, spec.data_fewshot)):
        try:
            with Path(name).expanduser().open("rb") as file:
                hashes[name] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise BadInput(f"Cannot read {name}: {error.strerror or error}.") from error
    return hashes


def check_unchanged(run: str, spec: RunSpec, before: Mapping[str, str]) -> None:
    """Refuse to go on with, or to score, what was asked from files that are others now.

    Args:
        run: its name.
        spec: what it was asked.
        before: ``file_hashes`` when it began.

    Raises:
        BadInput: naming the file that changed.
    """
    if not before:
        return
    for name, sha256 in file_hashes(spec).items():
        if before.get(name) != sha256:
            raise BadInput(
                f"{name} has changed since {run} began (its SHA-256 was {before.get(name)}, now {sha256}). "
                "Restore it, or start a new run; what was measured is kept."
            )


def _flag(field: str) -> str:
    return "--" + field.replace("_", "-")
