"""What economize's techniques share as strategies: its loop over the run's own model, and what it commits."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import torch

from lsbench.engine import Session
from lsbench.strategy import CannotRun, Emitted, GenerateRequest, Preparation, Relay, Strategy
from lsbench_economize.package import economize


class EconomizeTechnique(Strategy):
    """A strategy whose tokens come out of economize's loop; a subclass says which technique, and what is out.

    The model is the run's: the same weights, through the engine's products, as they are for every strategy.
    Loop, cache, acceptance and everything else are economize's. The requests of a batch take turns.
    """

    batchable = False

    def technique(self) -> Any:
        """The technique's configuration, a ``TechniqueConfig``."""
        raise NotImplementedError

    def calibration(self, preparation: Preparation) -> Any:
        """Token batches for a technique that searches when it is attached; None for one that does not."""
        return None

    def decoding(self, greedy: bool) -> Any:
        """The ``DecodeConfig`` of a request."""
        raise NotImplementedError

    def selector(self, session: Session, request: GenerateRequest) -> Any:
        """What chooses a request's tokens; None for the likeliest."""
        raise NotImplementedError

    def emissions(self, decoder: Any, session: Session) -> Any:
        """A function from economize's event of an exact pass to what is out with it, for one request."""
        raise NotImplementedError

    def check_model(self, model_type: str) -> None:
        """economize must have an adapter: it would take a type that it does not know for a Llama."""
        known = economize("economize.arch").ARCHITECTURES.names()
        if model_type not in known:
            raise CannotRun(f"economize has no adapter for models of type {model_type!r}")

    def prepare(self, preparation: Preparation) -> None:
        """Attach the technique to the model, whose weights and modules stay as they are.

        Raises:
            CannotRun: economize is not installed, cannot run the model, or would need it whole.
        """
        package = economize()
        # It hands its cache to transformers' layers under a name that these will forget.
        warnings.filterwarnings("ignore", ".*past_key_values. is deprecated", FutureWarning)
        stack = preparation.stack
        if stack.agreement.size > 1:
            raise CannotRun("economize runs whole models only; leave --tensor-parallel at 1")
        try:
            calibration = self.calibration(preparation)
            self._model = package.apply(stack.model, self.technique(), calibration=calibration)
        except package.EconomizeError as error:
            raise CannotRun(f"economize: {' '.join(str(error).split())}") from error

    def generate(self, session: Session, request: GenerateRequest) -> Iterator[Emitted]:
        """What each pass of economize's loop commits."""
        if request.max_new_tokens < 1:
            return
        yield from self.decoded(
            session,
            request.prompt_tokens,
            request.max_new_tokens,
            self.decoding(request.sampling.greedy),
            self.selector(session, request),
            frozenset(request.stop_token_ids),
        )

    def decoded(
        self,
        session: Session,
        prompt: tuple[int, ...],
        count: int,
        decoding: Any,
        selector: Any,
        ends: frozenset[int] = frozenset(),
    ) -> Iterator[Emitted]:
        """At most ``count`` tokens after ``prompt``, none after one of ``ends``."""
        ids = torch.tensor(prompt, dtype=torch.int64, device=session.stack.device)
        relay: Relay[Emitted] = Relay()

        def decode(relay: Relay[Emitted]) -> None:
            # An observer hears of every exact pass as soon as it is through; the decoder takes those that are
            # there when it is made.
            heard = self._model.add_verify_observer(lambda event: self._hand(relay, emit, event))
            try:
                decoder = self._model.decoder(decoding)
            finally:
                heard.remove()
            emit = self.emissions(decoder, session)
            with torch.no_grad():
                decoder.decode(ids, count, selector=selector, stop=ends or None)

        left = count
        for emitted in relay.run(decode):
            # The verifier's own token is told of even where the last draft was the last that was asked for.
            if left > 0:
                yield emitted
            left -= len(emitted.tokens)

    @staticmethod
    def _hand(relay: Relay[Emitted], emit: Any, event: Any) -> None:
        for emitted in emit(event):
            relay.hand(emitted)
