from __future__ import annotations

from pathlib import Path

import pytest

from lsbench.catalog import check_model_name, list_models
from lsbench.errors import BadInput


@pytest.mark.parametrize("entry", list_models(), ids=lambda entry: entry.name)
def test_every_catalogue_name_and_origin_is_a_name(entry):
    check_model_name(entry.name)
    check_model_name(entry.name.upper())
    if entry.kind == "hub":
        check_model_name(entry.origin)


def test_hub_ids_folders_and_gguf_files_are_names(model_folder: Path, tmp_path: Path):
    gguf = tmp_path / "weights.GGUF"
    gguf.write_bytes(b"GGUF....")
    for name in ("owner/model", "Owner-1/model_2.5", str(model_folder), str(gguf)):
        check_model_name(name)


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("smollm2-135m-instruc", "smollm2-135m-instruct"),
        ("smolm2", "smollm2-135m-instruct"),
        ("llama3-8b", "layerskip-llama3-8b"),
        ("layerskip-lama3.2-1b", "layerskip-llama3.2-1b"),
    ],
)
def test_unknown_name_offers_the_nearest(wrong: str, nearest: str):
    with pytest.raises(BadInput) as refused:
        check_model_name(wrong)
    assert repr(wrong) in str(refused.value)
    assert f"Did you mean {nearest!r}?" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("wrong", ["", "a/b/c", "../nowhere", "owner/", "/model", "owner/mo del"])
def test_names_of_no_form_are_refused(wrong: str):
    with pytest.raises(BadInput, match="Unknown model"):
        check_model_name(wrong)


def test_folder_without_config_is_refused(tmp_path: Path):
    with pytest.raises(BadInput, match=r"has no config\.json"):
        check_model_name(str(tmp_path))


def test_gguf_file_must_exist_and_be_one(tmp_path: Path):
    (tmp_path / "model-q4.gguf").write_bytes(b"PK\x03\x04 not it")
    with pytest.raises(BadInput, match="not a GGUF file"):
        check_model_name(str(tmp_path / "model-q4.gguf"))
    with pytest.raises(BadInput, match=r"Did you mean '.*model-q4\.gguf'"):
        check_model_name(str(tmp_path / "model-q5.gguf"))
