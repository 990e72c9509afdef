"""llama.cpp, through the prebuilt server of the package ``xllamacpp``: what is used on CPUs otherwise."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from benchmarks.peers.gguf_file import NotWritable, write_gguf
from benchmarks.peers.peer import AUTOREGRESSIVE, CannotRun, Decoded, Prompts, Setting, on_cpu, package

_ROUND = 256
"""llama.cpp makes caches in pieces of so many positions."""


class LlamaCpp:
    """Reads a GGUF file made of the same weights, and is timed by its own clock.

    That clock leaves out the request's way to the server and back. The cache is float32 beside float32
    weights, and llama.cpp's own default, float16, beside bfloat16 ones.
    """

    name = "llama.cpp"

    def __init__(self, setting: Setting) -> None:
        on_cpu(self.name, setting)
        self.beside = AUTOREGRESSIVE
        xllamacpp = package("xllamacpp")
        file = setting.scratch / f"{setting.dtype}.gguf"
        if not file.exists():
            try:
                write_gguf(setting.folder, file, setting.dtype)
            except NotWritable as error:
                file.unlink(missing_ok=True)
                raise CannotRun(str(error)) from error
        each = -(-setting.capacity // _ROUND) * _ROUND
        params = xllamacpp.CommonParams()
        params.model.path = str(file)
        params.n_ctx, params.n_parallel = each * setting.batch_size, setting.batch_size
        # A whole batch's prompts at one go.
        params.n_batch = max(params.n_batch, each * setting.batch_size)
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = setting.threads
        kinds = xllamacpp.ggml_type
        cache = kinds.GGML_TYPE_F32 if setting.dtype == "float32" else kinds.GGML_TYPE_F16
        params.cache_type_k = params.cache_type_v = cache
        params.cache_prompt, params.cache_ram_mib, params.verbosity = False, 0, 0
        stored = cache.name.removeprefix("GGML_TYPE_")
        self.about = f"cache {stored}; {' '.join(xllamacpp.get_system_info().strip(' |').split())}"
        self._server = xllamacpp.Server(params)
        self._where = urlsplit(self._server.listening_address).netloc

    def decode(self, prompts: Prompts, tokens: int) -> Decoded:
        """All prompts in one request; they begin together."""
        found = self._ask({"prompt": [list(prompt) for prompt in prompts], "n_predict": tokens})
        timings = [each["timings"] for each in found]
        outputs = tuple(tuple(each["tokens"]) for each in found)
        for prompt, each, output in zip(prompts, timings, outputs, strict=True):
            if each["prompt_n"] != len(prompt) or len(output) != tokens:
                raise CannotRun(
                    f"llama.cpp read {each['prompt_n']} tokens of {len(prompt)}, "
                    f"and wrote {len(output)} of {tokens}"
                )
        # Its clock begins a sequence's decoding when the first token is out.
        first_ms = max(each["prompt_ms"] for each in timings)
        whole_ms = max(each["prompt_ms"] + each["predicted_ms"] for each in timings)
        decoded = sum(len(output) - 1 for output in outputs)
        return Decoded(outputs, first_ms / 1e3, (whole_ms - first_ms) / 1e3, decoded)

    def _ask(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        greedy = {"temperature": 0, "samplers": ["top_k"], "top_k": 1}
        body = json.dumps({**request, **greedy, "cache_prompt": False, "return_tokens": True})
        connection = http.client.HTTPConnection(self._where)
        try:
            connection.request("POST", "/completion", body, {"Content-Type": "application/json"})
            answer = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        if isinstance(answer, dict) and "error" in answer:
            raise CannotRun(f"llama.cpp: {answer['error']}")
        answers = answer if isinstance(answer, list) else [answer]
        return sorted(answers, key=lambda each: each["index"])
