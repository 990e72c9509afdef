"""self_speculative: its options, and the proof that under greedy decoding nothing but speed changes."""

from functools import partial

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lsbench.engine import Session
from lsbench.engine.batch import Batch
from lsbench.execution.generation import generate
from lsbench.spec import ScoreWindow, parse_strategy
from lsbench.strategy import Drafters
from lsbench.strategy.registry import load_strategy, resolve
from support.models import random_llama
from support.requests import generate_request
from support.speculation import Subject, batches, cases, check_case

LAYERS = 5
LONGEST = 40


class TestOptions:
    @pytest.mark.parametrize(
        "text",
        [
            "self_speculative",
            "self_speculative:draft=static_exit,draft.exit_layer=3",
            "self_speculative:adaptive=true,draft=static_exit,draft.exit_layer=3,draft.kv_fill=mask",
            "self_speculative:draft=dynamic_skip,draft.skip_set=[2,4.attention],num_speculations=6",
            "self_speculative:draft.max_skip_ratio=0.5,draft_stop=0.25",
            "self_speculative:draft=static_exit,draft.exit_layer=online,draft.kv_fill=mask",
            "self_speculative:draft.skip_set=online,draft.max_skip_ratio=0.3,adaptive=true",
        ],
    )
    def test_a_label_is_read_back_as_the_same_choice(self, text: str) -> None:
        choice = parse_strategy(text)
        assert parse_strategy(choice.label) == choice
        options = resolve(choice).options
        assert resolve(parse_strategy(choice.label)).options == options

    def test_the_drafts_options_reach_it(self) -> None:
        options = resolve(
            parse_strategy("self_speculative:draft=static_exit,draft.exit_layer=3,draft.kv_fill=mask")
        ).options
        assert options.draft.name == "static_exit"
        made = options.draft.resolve()
        assert (made.options.exit_layer, made.options.kv_fill) == (3, "mask")
        assert str(options.draft) == "static_exit:exit_layer=3,kv_fill=mask"

    def test_the_default_drafts_options_can_be_given_alone(self) -> None:
        options = resolve(parse_strategy("self_speculative:draft.max_skip_ratio=0.3")).options
        assert options.draft.resolve().options.max_skip_ratio == 0.3

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ("draft=static_exti", ("Unknown strategy 'static_exti'.", "Did you mean 'static_exit'?")),
            ("draft=static_exit", ("--strategy self_speculative: draft.exit_layer is required",)),
            (
                "draft=static_exit,draft.exit_layr=3",
                ("'self_speculative' has no option 'draft.exit_layr'.", "Did you mean 'draft.exit_layer'?"),
            ),
            (
                "draft=static_exit,exit_layer=3",
                ("no option 'exit_layer'.", "Did you mean 'draft.exit_layer'?"),
            ),
            ("draft=static_exit,draft.max_skip_ratio=0.3", ("no option 'draft.max_skip_ratio'.",)),
            (
                "draft=static_exit,draft.exit_layer=0",
                ("self_speculative: draft.exit_layer must be online or a whole number of at least 1, not 0",),
            ),
            (
                "draft=static_exit,draft.exit_layer=2,draft.kv_fill=mask2",
                ("draft.kv_fill must be", "Did you mean mask?"),
            ),
            ("draft=static_exit,draft.exit_layer=9", ("exit_layer names layer 9", "its draft is refused")),
            ("draft=3", ("draft must be the name of a strategy, not 3",)),
            ("draft=self_speculative", ("draft=self_speculative decodes in a loop of its own",)),
            (
                "draft=static_exit,draft.exit_layer=online,adaptive=true",
                ("adaptive=true has no effect", "(static_exit:exit_layer=online) decides itself how many"),
            ),
            ("draft=static_exit,draft.exit_layer=onlne", ("Did you mean online?",)),
            ("draft.skip_set=onlin", ("neither auto, online, a list",)),
            ("num_speculations=0", ("num_speculations must be",)),
            ("draft_stop=1", ("draft_stop must be",)),
            ("adaptive=1", ("adaptive must be true or false, not 1",)),
            ("num_speculation=3", ("Did you mean 'num_speculations'?",)),
        ],
    )
    def test_what_is_wrong_is_said_by_the_name_that_was_written(
        self, refusal, options: str, says: tuple[str, ...]
    ) -> None:
        message = refusal(f"self_speculative:{options}")
        for words in says:
            assert words in message

    def test_nothing_of_it_is_given_without_effect(self, bench) -> None:
        """Each option changes what is drafted."""

        def drafts(options: str) -> list[int]:
            run = bench.run(f"self_speculative:draft=static_exit,draft.exit_layer=4{options}", count=40)
            return [e.drafted for e in run.emitted if e.drafted is not None]

        plain = drafts("")
        for options in (",num_speculations=2", ",draft_stop=0.9"):
            assert drafts(options) != plain
        deeper = bench.run("self_speculative:draft=static_exit,draft.exit_layer=5", count=40)
        assert [e.drafted for e in deeper.emitted if e.drafted is not None] != plain


def test_it_scores_as_the_full_model(bench) -> None:
    window = ScoreWindow(context=(5, 17, 3), continuation=(44, 8, 21))
    scores = [
        bench.make(text).score(Session(bench.stack), window)
        for text in ("autoregressive", "self_speculative:draft=static_exit,draft.exit_layer=1")
    ]
    assert scores[0] == scores[1]


# -- identity with transformers -----------------------------------------------------------------------------


def llama(tokenizer, seed: int, kept: float) -> Subject:
    """A tiny random model whose later layers change little."""
    model = random_llama(
        seed,
        vocab_size=len(tokenizer),
        hidden_size=24,
        intermediate_size=48,
        num_hidden_layers=LAYERS,
        max_position_embeddings=128,
        initializer_range=0.4,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    ).double()
    drawn = partial(torch.randint, 4, len(tokenizer), generator=torch.Generator().manual_seed(seed))
    prompts = [tuple(drawn((length,)).tolist()) for length in (1, 2, 5, 11)]
    calibration = tuple(tuple(row) for row in drawn((4, 16)).tolist())
    for layer in model.model.layers[2:]:
        layer.self_attn.o_proj.weight.data *= kept
        layer.mlp.down_proj.weight.data *= kept
    return Subject(model, tokenizer, prompts, calibration, LONGEST)


@pytest.fixture(scope="module")
def subjects(tiny_tokenizer) -> list[Subject]:
    return [llama(tiny_tokenizer, seed, kept) for seed, kept in ((1, 0.05), (2, 0.2), (3, 0.5))]


RELAXED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]


@pytest.mark.usefixtures("one_thread")
@settings(max_examples=15, deadline=None, suppress_health_check=RELAXED)
@given(st.data())
def test_greedily_it_is_token_identical_to_transformers(subjects: list[Subject], data: st.DataObject) -> None:
    check_case(data.draw(cases(st.sampled_from(subjects))))


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@settings(max_examples=1500, deadline=None, suppress_health_check=RELAXED)
@given(st.data())
def test_greedily_it_is_token_identical_to_transformers_over_thousands(
    subjects: list[Subject], data: st.DataObject
) -> None:
    check_case(data.draw(cases(st.sampled_from(subjects))))


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@settings(max_examples=250, deadline=None, suppress_health_check=RELAXED)
@given(st.data())
def test_in_batches_it_is_too(subjects: list[Subject], data: st.DataObject) -> None:
    """Whatever is drafted beside it, whenever the others leave."""
    drawn = data.draw(batches(st.sampled_from(subjects)))
    batch = Batch(drawn[0][0].stack)
    assert len(list(batch.run([partial(check_case, case, batch) for case in drawn]))) == len(drawn)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@settings(max_examples=200, deadline=None, suppress_health_check=RELAXED)
@given(st.data())
def test_exits_at_any_threshold_are_identical_too_and_nothing_runs_twice(
    subjects: list[Subject], data: st.DataObject
) -> None:
    """Older tokens ride along where one goes deeper: each position runs each layer once, and is counted."""
    subject = data.draw(st.sampled_from(subjects))
    confidence, lowest = data.draw(
        st.sampled_from([("softmax_max", 0.05), ("softmax_margin", 0.01), ("hidden_cosine", 0.5)])
    )
    candidates = data.draw(st.sets(st.integers(1, LAYERS - 1), min_size=1))
    stop = data.draw(st.sampled_from(["", ",draft_stop=0.4"]))
    options = (
        f"draft=dynamic_exit,draft.candidate_layers=[{','.join(map(str, sorted(candidates)))}],"
        f"draft.confidence={confidence},draft.threshold={data.draw(st.floats(lowest, 1)):.3f},"
        f"num_speculations={data.draw(st.integers(1, 8))}{stop}"
    )
    prompt, count = data.draw(st.sampled_from(subject.prompts)), data.draw(st.integers(3, LONGEST))
    request = generate_request(prompt, count)
    made = generate(
        subject.stack, subject.tokenizer, subject.strategy(f"self_speculative:{options}"), request
    )
    assert made.token_ids == subject.expected(request)
    assert made.drafted is not None
    assert made.verify_passes is not None
    ran = (made.draft_layers or 0) + (made.verify_layers or 0) + (made.older_rows or 0) / 2
    assert ran == LAYERS * (made.drafted + made.verify_passes)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_the_models_of_the_proof_do_take_drafts_and_refuse_some(subjects: list[Subject]) -> None:
    """Where none or all are taken, identity would say little."""
    for subject in subjects:
        for draft in ("draft=static_exit,draft.exit_layer=3", "draft=dynamic_skip,draft.max_skip_ratio=0.6"):
            drafted = accepted = 0
            for prompt in subject.prompts:
                counts = check_case(
                    (subject, f"self_speculative:{draft},num_speculations=5", generate_request(prompt, 40))
                )
                drafted, accepted = drafted + counts[0], accepted + counts[1]
            assert accepted >= 0.1 * drafted
    assert accepted < drafted


def test_tuning_may_draft_with_whatever_only_decides_depth() -> None:
    """Found through the registry: the core and this package name none of them."""
    space = load_strategy("self_speculative").Options.search_spaces()["draft"]
    assert isinstance(space, Drafters)
    assert {"static_exit", "dynamic_exit", "dynamic_skip"} <= set(space.names())
    assert not {"autoregressive", "self_speculative", "hf_generate"} & set(space.names())
    for name in space.names():
        required = ",draft.exit_layer=2" if name == "static_exit" else ""
        assert resolve(parse_strategy(f"self_speculative:draft={name}{required}")).lossless
