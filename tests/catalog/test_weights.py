from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from lsbench.catalog.fingerprint import sha256_of
from lsbench.catalog.weights import weight_files, weights_sha256
from lsbench.errors import BadInput

pytestmark = pytest.mark.usefixtures("fresh_cache")


def split(folder: Path) -> None:
    """Make the folder's weights two files and an index."""
    (folder / "model.safetensors").unlink()
    parts = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    for tensor, name in parts.items():
        save_file({tensor: np.full(10, ord(tensor), dtype=np.float32)}, folder / name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))


def test_one_file_is_identified_by_its_own_hash(model_folder: Path):
    assert weights_sha256(model_folder) == sha256_of(model_folder / "model.safetensors")


def test_the_hash_is_remembered_until_the_file_changes(model_folder: Path):
    file = model_folder / "model.safetensors"
    first = weights_sha256(model_folder)
    status = file.stat()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert weights_sha256(model_folder) == first  # same size and time: not read again
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert weights_sha256(model_folder) == sha256_of(file) != first


def test_several_files_are_identified_by_all_of_them(model_folder: Path):
    split(model_folder)
    first = weights_sha256(model_folder)
    save_file({"b": np.zeros(10, dtype=np.float32)}, model_folder / "model-00002-of-00002.safetensors")
    assert weights_sha256(model_folder) != first


def test_pytorch_files_count_only_without_safetensors(model_folder: Path):
    (model_folder / "pytorch_model.bin").write_bytes(b"pickled")
    assert [file.name for file in weight_files(model_folder)] == ["model.safetensors"]
    (model_folder / "model.safetensors").unlink()
    assert [file.name for file in weight_files(model_folder)] == ["pytorch_model.bin"]


def test_a_missing_part_is_named(model_folder: Path):
    split(model_folder)
    (model_folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(BadInput, match="lacks the weights model-00002-of-00002"):
        weight_files(model_folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: os.truncate(f / "model.safetensors", 2000), "damaged or cut short"),
        (lambda f: (f / "model.safetensors").unlink(), "holds no weights"),
        (lambda f: (f / "tokenizer.json").unlink(), "holds no tokenizer"),
        (lambda f: (f / "config.json").write_text("{"), r"no readable config\.json"),
        (lambda f: (f / "model.safetensors").rename(f / "model.safetensors.index.json"), "read the index"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(model_folder: Path, damage, message: str):
    damage(model_folder)
    with pytest.raises(BadInput, match=message):
        weight_files(model_folder)
