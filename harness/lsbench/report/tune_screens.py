"""The two places a search's progress is shown: a terminal, redrawn in place, or plain lines."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table

from lsbench.report import figures
from lsbench.report.places import Redrawn, Written, progress_bar, small_table
from lsbench.report.plain import one_line
from lsbench.report.tune_folder import option_text
from lsbench.report.tune_pace import TunePace, outcome_text
from lsbench.report.tune_words import quality_text, speed_text
from lsbench.tuning.trials import Trial

_MOST_TRIALS = 10
_MOST_FRONT = 5
_MOST_RUNNING = 3


class TuneLines(Written):
    """A plain line for every trial and every stage, without control codes."""

    def show(self, pace: TunePace, important: bool) -> None:
        """Write one line if ``important`` and new."""
        if important and (line := pace.headline(self._clock())) and line != self._last:
            self.say(line)
            self._last = line

    def trial(self, pace: TunePace, trial: Trial) -> None:
        """Write what came of it, and when this will end."""
        remaining = pace.remaining_s(self._clock())
        left = "" if remaining is None else f", {figures.duration(remaining)} left"
        self.say(f"{pace.trial_line(trial)}{left}")


class TuneDrawn(Redrawn[TunePace]):
    """The latest trials, the best so far and the front at the bottom of a terminal, redrawn in place."""

    def trial(self, pace: TunePace, trial: Trial) -> None:
        """Redraw; the table has it."""
        self.show(pace, trial.kind == "timed")

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
        table = small_table()
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
        table = small_table()
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
