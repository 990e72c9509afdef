"""Models of the hub, fetched by its own library."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from lsbench.catalog.names import WORKS_OFFLINE, nearest_name
from lsbench.catalog.progress import Progress, reporting_bar
from lsbench.errors import BadInput, LsbenchError, Unavailable

# Only what a transformers model is made of, and only at the top: repositories carry the same weights
# in several formats, and code that we would never run.
_WANTED = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
_UNWANTED = ["*/*", "consolidated*"]


def hub_folder(
    model: str, revision: str | None, progress: Progress, check: Callable[[Path], object] | None = None
) -> Path:
    """The local snapshot of a hub model; what is already there is not fetched again.

    Without a network, a snapshot that was fetched earlier is used.

    Args:
        model: hub id, ``owner/name``.
        revision: branch, tag or commit; None is the main branch.
        progress: told of the bytes.
        check: called with a folder that holds ``config.json`` before anything else is fetched; what it
            raises passes through.

    Raises:
        Unavailable: no network, no login, no access, and no earlier snapshot.
        BadInput: the hub has no such model or revision, or what it has is no transformers model.
    """
    folder = _fetch(model, revision, ["config.json"], f"Reading the configuration of {model}", progress)
    if not (folder / "config.json").is_file():
        raise _no_configuration(model, revision)
    if check is not None:
        check(folder)
    # From the very commit that was checked, whatever is pushed meanwhile.
    commit, stage = folder.name, f"Downloading {model}"
    folder = _fetch(model, commit, _WANTED, stage, progress)
    if not any(folder.glob("*.safetensors")):  # the weights are then in PyTorch's own format
        folder = _fetch(model, commit, [*_WANTED, "pytorch_model*.bin"], stage, progress)
    return folder


def _fetch(model: str, revision: str | None, wanted: list[str], stage: str, progress: Progress) -> Path:
    """The snapshot's folder, with what there is of the ``wanted`` files in it."""
    from huggingface_hub import snapshot_download

    bar = reporting_bar(lambda done, total: progress.update(stage, done, total))
    progress.update(stage, 0, None)
    try:
        with _no_warnings():
            folder = snapshot_download(
                model, revision=revision, allow_patterns=wanted, ignore_patterns=_UNWANTED, tqdm_class=bar
            )
    except (OSError, ValueError) as error:
        raise _explained(error, model, revision) from error
    return Path(folder)


@contextmanager
def _no_warnings() -> Generator[None]:
    """Without the library's own words, which stand beside ours and say less."""
    from huggingface_hub.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _no_configuration(model: str, revision: str | None) -> LsbenchError:
    from huggingface_hub import list_repo_files

    try:
        files = sorted(list_repo_files(model, revision=revision))
    except (OSError, ValueError) as error:
        return _explained(error, model, revision)
    packed = next((name for name in files if name.endswith(".gguf")), None)
    hint = f" It holds GGUF files: download one, such as {packed}, and give its path." if packed else ""
    return BadInput(f"Model {model!r} has no config.json on the hub, so it is no transformers model.{hint}")


def _explained(error: Exception, model: str, revision: str | None) -> LsbenchError:
    from huggingface_hub import constants, errors

    if isinstance(error, errors.GatedRepoError):
        return Unavailable(
            f"Model {model!r} is gated: ask for access at {constants.ENDPOINT}/{model}, log in with "
            f"'hf auth login' (or set HF_TOKEN), and run again. {WORKS_OFFLINE}"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return BadInput(f"Model {model!r} has no revision {revision!r} on the hub; check --revision.")
    if isinstance(error, errors.RepositoryNotFoundError):
        close = nearest_name(model)
        hint = f" Did you mean {close!r}?" if close else ""
        return BadInput(
            f"The hub has no model {model!r} that this login may see, nor is there such a folder here.{hint} "
            f"Check the spelling; for a private model log in with 'hf auth login'. {WORKS_OFFLINE}"
        )
    cause = _root(error)
    status = getattr(getattr(cause, "response", None), "status_code", None)
    if status in (401, 403):
        return Unavailable(
            f"The hub refused model {model!r} (status {status}): log in with 'hf auth login' "
            f"or set HF_TOKEN. {WORKS_OFFLINE}"
        )
    reason = " ".join(str(cause).split()).removesuffix(".")
    return Unavailable(
        f"Model {model!r} is not on this machine and the hub cannot be reached ({reason}). {WORKS_OFFLINE}"
    )


def _root(error: BaseException) -> BaseException:
    """The failure that started a chain of exceptions, as far as the hub's library tells it."""
    from huggingface_hub.errors import HfHubHTTPError

    while not isinstance(error, HfHubHTTPError):
        below = error.__cause__ or error.__context__
        if below is None:
            break
        error = below
    return error
