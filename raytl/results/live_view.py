"""A study in a terminal: a table that is drawn again four times a second, and above it the lines worth keeping.

Each backbone has a row of counts and, where the window is high enough, one below it with its best figure, the curve of
the best and the recipe that it came from. The table fits a window of 60 columns; where a window is narrower, or cannot
move its cursor, `LogLines` are what to use.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from textwrap import wrap
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from raytl.metric import Metric
from raytl.results.log_lines import LogLines, figure
from raytl.results.progress import Tally
from raytl.results.schemas import CONFIRM, TrialRow
from raytl.results.sparkline import BLOCKS, PLAIN, sparkline
from raytl.results.wording import depth_count, shortened
from raytl.stops import before_exit

COUNTS = ("running", "done", "stopped", "failed", "of")
COUNT_WIDTHS = (7, 5, 7, 6, 5)  # numbers of up to five digits
GAP = 2
COLUMNS_LEAST = 60  # a name of 20 characters beside the counts
CURVE = 12  # chosen: characters; the rest of a row of 80 is the recipe's
INDENT = 10  # lines that are folded go on below the text, behind the clock
SHOW_CURSOR = b"\r\n\x1b[?25h"


def is_drawable(console: Console) -> bool:
    """Whether a table can be drawn there again and again: a terminal with a cursor, or a notebook with widgets."""
    if console.is_jupyter:
        return find_spec("ipywidgets") is not None and find_spec("IPython") is not None
    return console.is_terminal and not console.is_dumb_terminal and console.width >= COLUMNS_LEAST


class LiveView(LogLines):
    """A table on a console; use it as a context."""

    def __init__(self, metric: Metric, console: Console | None = None) -> None:
        super().__init__(metric, console)
        self._live = Live(
            console=self._console,
            get_renderable=self._picture,
            refresh_per_second=4,
            transient=True,
        )
        self._forget = lambda: None

    def __enter__(self) -> Self:
        self._live.start()
        if self._console.is_terminal:
            self._forget = before_exit(lambda: os.write(self._console.file.fileno(), SHOW_CURSOR))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._forget()
        self._live.stop()

    def _most(self) -> int:
        """The table tells of the others."""
        return 0

    def _write(self, line: str) -> None:
        """A line folded at words to the window's width; long words are left whole, so that they can be copied."""
        width = self._console.width
        is_told = line.startswith("[")
        rows = wrap(line, width, subsequent_indent=" " * INDENT, break_long_words=False, break_on_hyphens=False)
        for row in rows if is_told and len(line) > width else [line]:
            super()._write(row)

    def _picture(self) -> RenderableType:
        """What is drawn: where the study is, and the backbones."""
        tallies, width = self._progress.tallies(), self._console.width
        told = f"[{self._progress.seconds:5.0f} s] {self._progress.sentence()}"
        lines = wrap(told, width, subsequent_indent=" " * INDENT)
        is_high = len(lines) + 1 + 2 * len(tallies) < self._console.height
        if tallies:
            lines.append(self._row("backbone", COUNTS))
        for tally in tallies:
            lines.append(self._row(tally.backbone, _counts(tally)))
            lines += [self._best(tally.best, tally.curve)] if is_high and tally.best else []
        return Group(*(Text(self._encodable(line[:width]), no_wrap=True, overflow="crop") for line in lines))

    def _row(self, name: str, cells: Sequence[str]) -> str:
        room = self._console.width - sum(COUNT_WIDTHS) - GAP * len(COUNTS)
        padded = (cell.rjust(width) for cell, width in zip(cells, COUNT_WIDTHS, strict=True))
        return (" " * GAP).join([shortened(name, room, "…" if self._has("…") else "~").ljust(room), *padded])

    def _best(self, best: TrialRow, curve: Sequence[float]) -> str:
        line = sparkline(curve, CURVE, BLOCKS if self._has(BLOCKS) else PLAIN)
        return f"  {figure(best, self._metric)} {line.ljust(CURVE)} {recipe_words(best)}"

    def _has(self, characters: str) -> bool:
        """Whether the terminal's encoding has them."""
        try:
            characters.encode(self._console.encoding)
        except UnicodeEncodeError:
            return False
        return True


def recipe_words(trial: TrialRow) -> str:
    """A trial's recipe in 40 characters; a design's run is known by its levels, a final model by its role."""
    if trial.stage == CONFIRM:
        return trial.origin
    recipe = trial.recipe
    return f"lr {recipe.lr:.1e}, batch {recipe.batch_size}, {depth_count(recipe.freeze_depth)}"


def _counts(tally: Tally) -> list[str]:
    wanted = str(tally.wanted) if tally.wanted else ""
    return [str(tally.running), str(tally.done), str(tally.stopped), str(tally.bad), wanted]
