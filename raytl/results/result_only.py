"""A study of which only the result is shown: leaderboard and paths, or what a dry run found. Errors go elsewhere."""

from __future__ import annotations

from rich.console import Console

from raytl.estimate import Estimate
from raytl.metric import Metric
from raytl.results.conclusion import Conclusion
from raytl.results.log_lines import LogLines
from raytl.results.view import Silent


class ResultOnly(Silent):
    """Says nothing until it is over."""

    def __init__(self, metric: Metric, console: Console | None = None) -> None:
        self._lines = LogLines(metric, console)

    def estimated(self, estimate: Estimate) -> None:
        """What a dry run found is its result."""
        self._lines.estimated(estimate)

    def concluded(self, conclusion: Conclusion) -> None:
        """The leaderboard."""
        self._lines.concluded(conclusion)
