"""The console that a study is shown on."""

from __future__ import annotations

import sys
from contextlib import suppress

from rich.console import Console

from raytl.unread import silence


class StudyConsole(Console):
    """A console that falls silent when its reader has gone, where rich would end the process: the study goes on."""

    def on_broken_pipe(self) -> None:
        """Says once to standard error that nobody reads any more."""
        self.quiet = True
        silence(self.file)
        with suppress(OSError):
            said = "raytl: nobody reads these lines any more; the study goes on, and its folder has all of it"
            print(said, file=sys.stderr, flush=True)
