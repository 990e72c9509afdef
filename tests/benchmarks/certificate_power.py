"""What a run's sampling certificate finds on a real model, with acceptance rules made wrong on purpose.

The same looks and tests as in a run of ``humaneval`` with ``--limit`` prompts, once with the rule as it is
and once with each wrong one.

    python tests/benchmarks/certificate_power.py --limit 8 --tokens 96
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from lsbench.catalog import prepare_data, resolve_model
from lsbench.engine.loading import load_stack, load_tokenizer
from lsbench.execution.certificate import Certifier
from lsbench.execution.generation import generate
from lsbench.measurement.certificate import certificates
from lsbench.metrics import DistributionTest
from lsbench.records import SampleRecord
from lsbench.spec import GenerateRequest, Sampling, parse_strategy, request_seed
from lsbench.store.machine import hardware, load_average, versions
from lsbench.strategy import Drafted, Preparation, acceptance
from lsbench.strategy.calibration import CALIBRATION_TEXTS
from lsbench.strategy.registry import resolve


def always(target: torch.Tensor, proposed: Drafted, uniform: float) -> bool:
    """Every draft is taken."""
    return True


def unweighted(target: torch.Tensor, proposed: Drafted, uniform: float) -> bool:
    """By the full model's probability alone, not over the draft's."""
    return uniform < float(target[proposed.token])


def whole_target(target: torch.Tensor, proposed: Drafted) -> torch.Tensor:
    """In place of a refused token one is drawn from all of the full model's distribution."""
    return target


RULES: dict[str, tuple[str, Callable[..., object]] | None] = {
    "as it is": None,
    "takes every draft": ("is_taken", always),
    "not weighed against the draft": ("is_taken", unweighted),
    "redraws from all of p": ("remainder", whole_target),
}


@contextmanager
def rule(name: str) -> Iterator[None]:
    """The acceptance rule of that name is in force."""
    wrong = RULES[name]
    if wrong is None:
        yield
        return
    place, replacement = wrong
    kept = getattr(acceptance, place)
    setattr(acceptance, place, replacement)
    try:
        yield
    finally:
        setattr(acceptance, place, kept)


def told(test: DistributionTest | None) -> str:
    """A test in a few words."""
    if test is None:
        return "not made"
    return f"p = {test.p_value:.1g} of {test.tokens} tokens (finds a shift of {test.detectable_shift:.0%})"


def main() -> None:
    """Print the machine, then each strategy under each rule: what was taken, both tests, and the verdict."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--strategy", action="append", help="lossless by its claim; may be repeated")
    parser.add_argument(
        "--rule", action="append", choices=list(RULES), help="may be repeated; all unless given"
    )
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--limit", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    labels = asked.strategy or ["self_speculative:draft=static_exit,draft.exit_layer=25"]

    source = resolve_model(asked.model)
    tokenizer = load_tokenizer(source.path)
    stack = load_stack(source.path, asked.dtype, "cpu")
    print(
        f"{hardware().cpu}, load {load_average()}, torch {versions()['torch']}, {asked.model} {asked.dtype}"
    )
    problems = [json.loads(line) for line in prepare_data("humaneval").read_text().splitlines()]
    sampling = Sampling(temperature=asked.temperature)
    requests = [
        GenerateRequest(
            task="humaneval", doc_id=number, arguments_sha256="", prompt=problem["prompt"],
            prompt_tokens=tuple(tokenizer(problem["prompt"])["input_ids"]), max_new_tokens=asked.tokens,
            sampling=sampling, seed=request_seed(asked.seed, "humaneval", number, 0),
        )
        for number, problem in enumerate(problems[: asked.limit])
    ]  # fmt: skip
    plain = resolve(parse_strategy("autoregressive"))
    preparation = Preparation(stack, tuple(tuple(tokenizer(text)["input_ids"]) for text in CALIBRATION_TEXTS))
    plain.prepare(preparation)
    baselines = [generate(stack, tokenizer, plain, request).token_ids for request in requests]
    for label in labels:
        strategy = resolve(parse_strategy(label))
        strategy.check(stack.num_layers)
        strategy.prepare(preparation)
        for name in asked.rule or RULES:
            records: list[SampleRecord] = []
            drafted = accepted = 0
            with rule(name):
                certifier = Certifier(stack, tokenizer)
                for request, baseline in zip(requests, baselines, strict=True):
                    own = generate(stack, tokenizer, strategy, request)
                    drafted, accepted = drafted + (own.drafted or 0), accepted + (own.accepted or 0)
                    look = certifier.look(label, strategy, request, baseline, own.token_ids)
                    records.append(
                        SampleRecord(
                            schema=1, strategy=label, options={}, label=label, task="humaneval",
                            doc_id=request.doc_id, kind="certificate", arguments_sha256="", prompt="",
                            prompt_tokens=len(request.prompt_tokens), **vars(look),
                        )
                    )  # fmt: skip
                    certifier.remember(records[-1])
            found = certificates(records, [label])[label]
            assert found is not None
            print(
                f"{label}, rule {name}: {accepted / max(1, drafted):.0%} of {drafted} drafts taken; outputs "
                f"{told(found.outputs)}; draws {told(found.draws)}: "
                f"{'refuted' if found.refuted else 'not refuted'}",
                flush=True,
            )


if __name__ == "__main__":
    main()
