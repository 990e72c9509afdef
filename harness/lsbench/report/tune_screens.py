"""The two places a search's progress is shown: a terminal, redrawn in place, or plain lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lsbench.report import figures
from lsbench.report.plain import ascii_only, one_line
from lsbench.report.screens import Lines, progress_bar
from lsbench.report.tune_folder import option_text
from lsbench.report.tune_pace import TunePace, outcome_text
from lsbench.report.tune_words import quality_text, speed_text
from lsbench.tuning.trials import Trial

_REDRAW_EVERY_S = 0.1
_MOST_TRIALS = 10
_MOST_FRONT = 5
_MOST_RUNNING = 3


class TuneScreen(Protocol):
    """Somewhere to show how a search goes."""

    def show(self, pace: TunePace, important: bool) -> None:
        """Show ``pace``; unless ``important``, it may be left out when something was shown just now."""
        ...

    def trial(self, pace: TunePace, trial: Trial) -> None:
        """One trial is finished; ``pace`` counts it already."""
        ...

    def say(self, text: str) -> None:
        """Show a line that stays."""
        ...

    def close(self) -> None:
        """Leave the place as it was found."""
        ...


class TuneLines:
    """A plain line for every trial and every stage, without control codes."""

    def __init__(self, stream: TextIO, clock: Callable[[], float]) -> None:
        self._lines = Lines(stream, clock)
        self._clock = clock
        self._last = ""

    def show(self, pace: TunePace, important: bool) -> None:
        """Write one line if ``important`` and new."""
        if important and (line := pace.headline(self._clock())) and line != self._last:
            self._lines.say(line)
            self._last = line

    def trial(self, pace: TunePace, trial: Trial) -> None:
        """Write what came of it, and when this will end."""
        remaining = pace.remaining_s(self._clock())
        left = "" if remaining is None else f", {figures.duration(remaining)} left"
        self._lines.say(f"{pace.trial_line(trial)}{left}")

    def say(self, text: str) -> None:
        """Write ``text`` on a line of its own."""
        self._lines.say(text)

    def close(self) -> None:
        """Nothing to undo."""


class TuneDrawn:
    """The latest trials, the best so far and the front at the bottom of a terminal, redrawn in place.

    They are redrawn when something happened and never by a thread of their own, which would take processor
    time from what is being timed.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._shown_at = float("-inf")
        self._console = Console(file=stream, highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._live.start()

    def show(self, pace: TunePace, important: bool) -> None:
        """Redraw, unless that was done a moment ago and nothing important happened."""
        now = self._clock()
        if important or now - self._shown_at >= _REDRAW_EVERY_S:
            self._live.update(self._picture(pace, now), refresh=True)
            self._shown_at = now

    def trial(self, pace: TunePace, trial: Trial) -> None:
        """Redraw; the table has it."""
        self.show(pace, trial.kind == "timed")

    def say(self, text: str) -> None:
        """Print a line above the picture."""
        self._console.print(self._text(text))

    def close(self) -> None:
        """Wipe the picture and give the cursor back."""
        self._live.update(Text())
        self._live.stop()

    def _picture(self, pace: TunePace, now: float) -> RenderableType:
        lines: list[RenderableType] = [self._text(pace.headline(now), "bold", one_row=not pace.words)]
        if pace.stage and pace.stage_total:
            lines.append(progress_bar(pace.stage_done, pace.stage_total))
        elif pace.total and not pace.stage and not pace.words:
            lines.append(progress_bar(min(pace.done, pace.total), pace.total))
        if pace.best_line():
            lines.append(self._text(pace.best_line(), "green", one_row=True))
        running = list(pace.running.values())
        lines += [self._text(f"trying {label}", "dim", one_row=True) for label in running[:_MOST_RUNNING]]
        # The latest trials go before the front, the best of which is shown already.
        room = self._console.size.height - len(lines) - 2
        if pace.trials and room > 0:
            latest = pace.trials[-min(room, _MOST_TRIALS) :]
            lines.append(self._trials(latest))
            room -= len(latest) + 2
        front, measured = pace.front()
        shown = self._sample(front)
        if len(shown) > 1 and room >= len(shown):
            kind = "measured" if measured else "predicted"
            lines += [self._text(""), self._front(shown, f"front of {len(front)}, {kind}")]
        return Group(*lines)

    def _sample(self, front: list[Trial]) -> list[Trial]:
        """A few along the whole front, both ends among them."""
        if len(front) <= _MOST_FRONT:
            return front
        return [front[round(place * (len(front) - 1) / (_MOST_FRONT - 1))] for place in range(_MOST_FRONT)]

    def _trials(self, trials: list[Trial]) -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("trial", no_wrap=True)
        table.add_column("speedup", no_wrap=True)
        table.add_column("quality", no_wrap=True)
        table.add_column("options", ratio=1)  # the only one that gives way on a narrow terminal
        for trial in reversed(trials):
            kind = "final" if trial.documents == "final" else trial.kind
            failed = trial.status != "ok"
            told = outcome_text(trial) if failed else option_text(trial)
            table.add_row(
                self._text(f"{kind} {trial.number}"),
                self._text(figures.NONE if failed else speed_text(trial)),
                self._text(figures.NONE if trial.quality is None else f"{trial.quality:.3f}"),
                self._text(one_line(told), "red" if failed else "", one_row=True),
            )
        return table

    def _front(self, front: list[Trial], name: str) -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column(name, no_wrap=True)
        table.add_column("quality", no_wrap=True)
        table.add_column("options", ratio=1)
        for trial in front:
            table.add_row(
                self._text(speed_text(trial)),
                self._text(quality_text(trial)),
                self._text(one_line(option_text(trial)), one_row=True),
            )
        return table

    def _text(self, text: str, style: str = "", one_row: bool = False) -> Text:
        spelled = ascii_only(text) if self._console.options.ascii_only else text
        return Text(spelled, style, no_wrap=one_row, overflow="ellipsis" if one_row else None)
