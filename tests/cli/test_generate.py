import io
import json
import os
import pty
import re
import signal
import sys
import threading
import time

import pytest

from lsbench.spec import GenerateRequest

CODE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
PROMPT = "Question: what colour is the sky?"
DRAFTS = "self_speculative:draft=static_exit,draft.exit_layer=3"


@pytest.fixture
def generate_of(tiny_model):
    """The arguments of a completion by the tiny model."""

    def make(*more) -> list[str]:
        common = ["--model", tiny_model, "--dtype", "float64", "--threads", "1"]
        return ["generate", *map(str, common), *map(str, more)]

    return make


@pytest.fixture
def typed(monkeypatch):
    """Put a text where standard input is."""
    return lambda text: monkeypatch.setattr(sys, "stdin", io.StringIO(text))


@pytest.fixture
def expected(tiny_stack, tiny_tokenizer):
    """What the baseline writes, by the loop that runs are made with."""
    from lsbench.execution.generation import generate
    from lsbench.spec import StrategyChoice
    from lsbench.strategy.registry import resolve

    def write(prompt: str, count: int):
        strategy = resolve(StrategyChoice(name="autoregressive"))
        from lsbench.strategy import Preparation

        strategy.prepare(Preparation(tiny_stack, ()))
        tokens = tuple(tiny_tokenizer.encode(prompt))
        request = GenerateRequest(
            task="", doc_id=0, arguments_sha256="", prompt=prompt, prompt_tokens=tokens,
            max_new_tokens=count, stop_token_ids=(1,),
        )  # fmt: skip
        return generate(tiny_stack, tiny_tokenizer, strategy, request)

    return write


@pytest.mark.slow
def test_a_pipe_gets_what_a_run_would_keep(cli, generate_of, typed, expected):
    """Multi-byte characters and all; by argument or by pipe; as text, and as a record of a run's own kind."""
    made = expected(PROMPT, 24)
    typed(PROMPT + "\n")
    said = cli(*generate_of("--max-new-tokens", 24, "-s", DRAFTS))
    assert (said.code, said.out) == (0, made.text + "\n" * (not made.text.endswith("\n")))
    assert "of drafts accepted" in said.err.splitlines()[-1]
    said = cli(*generate_of(PROMPT, "--max-new-tokens", 24, "-s", DRAFTS, "--json"))
    record = json.loads(said.out)
    assert tuple(record["token_ids"]) == made.token_ids
    assert (record["text"], record["kind"], record["label"]) == (made.text, "generate", DRAFTS)
    assert len(record["token_s"]) == len(made.token_ids)
    assert made.text in said.err
    assert "\x1b" not in said.out + said.err


@pytest.mark.slow
def test_quiet_is_the_text_alone(cli, generate_of, typed, expected):
    typed("")
    said = cli(*generate_of(PROMPT, "--max-new-tokens", 5, "-q"))
    assert (said.out.rstrip("\n"), said.err) == (expected(PROMPT, 5).text.rstrip("\n"), "")


@pytest.mark.slow
def test_a_conversation_goes_on_with_all_that_was_said(cli, generate_of, typed, expected):
    typed("one two\nthree\n/new\none two\n/foo\n/exit\nnever asked\n")
    said = cli(*generate_of("-i", "--max-new-tokens", 6, "-q"))
    turn = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
    first = expected(turn.format("one two"), 6).text
    second = expected(f"{turn.format('one two')}{first}<|im_end|>\n{turn.format('three')}", 6).text
    lines = [text + "\n" * (not text.endswith("\n")) for text in (first, second, first)]
    assert (said.code, said.out) == (0, "".join(lines))
    assert said.err == "Unknown command '/foo'. Known: /exit, /new.\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["x", "-s", "dynamic_skp"], ["strategy 'dynamic_skp'", "'dynamic_skip'"]),
        (["x", "-s", "static_exit"], ["exit_layer"]),
        (["x", "-s", "static_exit:exit_layer=9"], ["exit_layer", "9", "4"]),
        (["x", "-s", "static_exit:exit_layer=2", "-s", "hf_generate:cash=1"], ["'cash'"]),
        ([""], ["The prompt is empty"]),
        (["-"], ["The prompt is empty"]),
        ([], ["The prompt is empty"]),
        (["x", "-i", "--json"], ["--json", "--interactive"]),
        (["-", "-i"], ["--interactive", "stdin"]),
        (["x", "-i", "--no-chat-template"], ["--interactive", "--no-chat-template"]),
        (["x", "--top-p", "3"], ["--top-p 3.0"]),
        (["x", "--dtype", "float33"], ["--dtype 'float33'", "float32"]),
        (["x", "--device", "cuda:99"], ["--device 'cuda:99'"]),
        (["x", "--model", "smollm2-135m-instuct"], ["smollm2-135m-instruct"]),
        (["so many words " * 60], ["context holds 160"]),
        (["x", "--max_new_tokens", "0"], ["--max-new-tokens 0"]),
    ],
)
def test_a_mistake_is_told_before_weights_load(arguments, words, cli, generate_of, typed, monkeypatch):
    def refuse(*_):
        raise AssertionError("weights are loaded")

    monkeypatch.setattr("lsbench.engine.loading.load_stack", refuse)
    typed("")
    said = cli(*generate_of(*arguments))
    assert said.code == 2
    for word in words:
        assert word in said.error


class Terminal:
    """A pseudo-terminal, and what was said on it."""

    def __init__(self) -> None:
        self.master, slave = pty.openpty()
        self.name = os.ttyname(slave)
        self._slave = slave
        self._said = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            while part := os.read(self.master, 4096):
                self._said += part
        except OSError:
            return

    @property
    def said(self) -> str:
        return self._said.decode(errors="replace")

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def until(self, condition, timeout: float = 300) -> None:
        end = time.monotonic() + timeout
        while not condition(self.said):
            assert time.monotonic() < end, self.said
            time.sleep(0.005)

    def close(self) -> None:
        os.close(self._slave)
        self._reader.join(10)
        os.close(self.master)


@pytest.fixture
def terminal():
    opened = Terminal()
    yield opened
    opened.close()


@pytest.fixture
def start(processes, generate_of, terminal, tmp_path):
    def start(*arguments, stdout=None):
        place = terminal.name
        return processes.start(
            generate_of(*arguments), tmp_path, stdin=place, stdout=stdout or place, stderr=place,
            environment={"TERM": "xterm-256color", "COLUMNS": "60", "LINES": "20"},
        )  # fmt: skip

    return start


@pytest.mark.slow
def test_ctrl_c_stops_the_answer_and_not_the_program(start, terminal):
    process = start("-i", "--max-new-tokens", 100, "-s", "dawdling:pause=0.05")
    terminal.until(lambda said: said.endswith("> "))
    terminal.type("one two\n")
    terminal.until(lambda said: " tokens " in said)  # the figures, while it writes
    os.kill(process.pid, signal.SIGINT)
    terminal.until(lambda said: said.endswith("> ") and "stopped by Ctrl-C" in said)
    terminal.type("three\n")
    terminal.until(lambda said: said.count("first after") > 1 and " tokens " in said.rpartition("> ")[2])
    os.kill(process.pid, signal.SIGINT)
    terminal.until(lambda said: said.count("stopped by Ctrl-C") == 2 and said.endswith("> "))
    assert "\x1b[2m" in terminal.said  # the figures are dim
    # One press stopped the answer; with nothing said since, another one leaves.
    os.kill(process.pid, signal.SIGINT)
    assert process.wait().code == 0
    assert "Traceback" not in terminal.said


@pytest.mark.slow
def test_ctrl_c_without_a_conversation_leaves_what_was_written(start, terminal, tmp_path):
    text = tmp_path / "text"
    process = start(PROMPT, "--max-new-tokens", 100, "-s", "dawdling:pause=0.05", stdout=str(text))
    process.until(lambda: text.exists() and len(text.read_text()) > 3, timeout=300)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait().code == 130
    terminal.until(lambda said: "stopped by Ctrl-C" in said)
    assert 3 < len(text.read_text()) < 300
    assert "\x1b" not in text.read_text()
    assert "Traceback" not in terminal.said


@pytest.mark.slow
def test_a_terminal_gets_colours_and_what_they_mean(start, terminal):
    process = start(PROMPT, "--max-new-tokens", 40, "-s", DRAFTS)
    assert process.wait().code == 0
    terminal.until(lambda said: "drafted, accepted" in said)
    assert "\x1b[32m" in terminal.said
    assert "the verifier's own" in CODE.sub("", terminal.said)
