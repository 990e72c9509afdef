"""Models of the hub, fetched by its own library."""

from __future__ import annotations

from pathlib import Path

from lsbench.catalog.names import WORKS_OFFLINE, nearest_name
from lsbench.catalog.progress import Progress, reporting_bar
from lsbench.errors import BadInput, LsbenchError, Unavailable

# Only what a transformers model is made of, and only at the top: repositories carry the same weights
# in several formats, and code that we would never run.
_WANTED = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
_UNWANTED = ["*/*", "consolidated*"]


def hub_folder(model: str, revision: str | None, progress: Progress) -> Path:
    """The local snapshot of a hub model; what is already there is not fetched again.

    Without a network, a snapshot that was fetched earlier is used.

    Args:
        model: hub id, ``owner/name``.
        revision: branch, tag or commit; None is the main branch.
        progress: told of the bytes.

    Raises:
        Unavailable: no network, no login, no access, and no earlier snapshot.
        BadInput: the hub has no such model or revision.
    """
    from huggingface_hub import snapshot_download

    stage = f"Downloading {model}"
    bar = reporting_bar(lambda done, total: progress.update(stage, done, total))
    progress.update(stage, 0, None)

    def fetch(wanted: list[str]) -> Path:
        return Path(
            snapshot_download(
                model, revision=revision, allow_patterns=wanted, ignore_patterns=_UNWANTED, tqdm_class=bar
            )
        )

    try:
        folder = fetch(_WANTED)
        if not any(folder.glob("*.safetensors")):  # the weights are then in PyTorch's own format
            folder = fetch([*_WANTED, "pytorch_model*.bin"])
    except (OSError, ValueError) as error:
        raise _explained(error, model, revision) from error
    return folder


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
