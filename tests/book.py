"""The pages under docs/: what blocks of code they hold, and how these are run.

A block's language says how it is run: `sh` line by line, raytl's own commands in this process; `python`; `sql` by
DuckDB. A `text` block is what the block before it prints: word for word, but `...` stands for anything, and `HERE` for
the folder that commands are run in. A text that begins with an error of raytl's says that the command is refused. The
comment `<!-- not run: why -->` in the line above a block leaves it out, `<!-- not compared: why -->` above a text.
"""

from __future__ import annotations

import io
import json
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from raytl.cli import main, make_parser
from tests.ports import free_port
from tests.processes import Command

ROOT = Path(__file__).parents[1]
HERE = "/data/me"
PORT = "8000"  # the one that pages name; tests take one that is free
SERVER_SECONDS = 60  # chosen: its orderly end took 3 on an idle machine
_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]+) -->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_PROGRAMS = {"raytl", "curl", "python", "pip", "tensorboard"}


@dataclass(frozen=True)
class Block:
    """A block of code of a page; `printed` is the text block behind it, where there is one to be compared."""

    page: str
    line: int
    language: str
    text: str
    mark: str = ""
    printed: str | None = None

    @property
    def is_run(self) -> bool:
        """Whether it is run, and not only read."""
        return not self.mark.startswith("not run: ")

    @property
    def is_refused(self) -> bool:
        """Whether the command is to be refused: the page shows an error of raytl's."""
        return self.printed is not None and re.match(r"(\.\.\.\n)?raytl: ", self.printed) is not None

    @property
    def commands(self) -> list[list[str]]:
        """The words of each line of a `sh` block, comments left out."""
        lines = (shlex.split(line, comments=True) for line in self.text.splitlines())
        return [words for words in lines if words]


def blocks_of(page: Path, text: str | None = None) -> list[Block]:
    """The blocks of a page in order; text blocks go to the block before them, if there is one."""
    content = page.read_text("utf-8") if text is None else text
    found: list[Block] = []
    for match in _BLOCK.finditer(content):
        line, mark = content.count("\n", 0, match.start()) + 1, match["mark"] or ""
        if match["language"] != "text":
            found.append(Block(page.name, line, match["language"], match["text"], mark))
        elif found and content.count("```", 0, match.start()) % 2 == 0 and _follows(content, match, found[-1]):
            printed = None if mark.startswith("not compared: ") else match["text"]
            found[-1] = Block(**{**vars(found[-1]), "printed": printed})
    return found


def _follows(content: str, match: re.Match[str], before: Block) -> bool:
    """Whether nothing but a blank line lies between a text block and the block that prints it."""
    return content[: match.start()].rstrip().endswith(f"{before.text}```")


def as_printed(said: str, printed: str) -> bool:
    """Whether `said` is what a page shows, `...` standing for anything."""
    pattern = ".*".join(re.escape(part.strip()) for part in printed.strip().split("..."))
    return re.fullmatch(pattern, said.strip(), re.DOTALL) is not None


def check_words(words: list[str]) -> None:
    """Fails where a command that is not run would not be understood."""
    assert words[0] in _PROGRAMS, words
    if words[0] == "raytl":
        make_parser().parse_args(words[1:])


@dataclass
class Desk:
    """The folder that a page's blocks are run in, what they printed, and the server that one may have started."""

    folder: Path
    names: dict[str, Any] = field(default_factory=dict)
    server: Command | None = None
    port: int = field(default_factory=free_port)
    said: dict[int, str] = field(default_factory=dict)

    def run(self, block: Block) -> None:
        """Runs a block and holds what it printed against the page."""
        code, out, err = 0, "", ""
        if block.language == "sh":
            for words in block.commands:
                code, more, err = self._command(words)
                out += more
                assert (code != 0) == block.is_refused, f"{block.page}:{block.line}: {words} gave {code}\n{more}{err}"
        elif block.language == "python":
            out = self._python(block)
        elif block.language == "sql":
            out = str(rows_of(block.text))
            assert out != "[]" or "having bool_and" in block.text, f"{block.page}:{block.line}: no row"
        else:
            raise AssertionError(f"{block.page}:{block.line}: nobody runs {block.language!r}")
        self.said[block.line] = out
        if block.printed is not None:
            found = (err if block.is_refused else out).replace(str(self.folder), HERE)
            assert as_printed(found, block.printed), f"{block.page}:{block.line} prints\n{found}"

    def _command(self, words: list[str]) -> tuple[int, str, str]:
        if words[:2] == ["raytl", "serve"]:
            return self._serve(words[1:])
        if words[0] == "curl":
            address = [word.replace(f":{PORT}/", f":{self.port}/") for word in words]
            done = subprocess.run([*address, "--silent"], capture_output=True, text=True, timeout=60)
            return done.returncode, done.stdout, done.stderr
        assert words[0] == "raytl", words
        with captured() as (out, err):
            try:
                code = main(words[1:])
            except SystemExit as refused:  # of argparse
                code = int(refused.code or 0)
        return code, out.getvalue(), err.getvalue()

    def _serve(self, words: list[str]) -> tuple[int, str, str]:
        """In a process of its own, since it goes on until it is interrupted."""
        server = self.server = Command.start(self.folder / "server.log", *words, "--port", str(self.port))
        server.wait_for(lambda: "Ctrl-C ends it" in server.said)
        return 0, server.said, ""

    def _python(self, block: Block) -> str:
        with captured() as (out, _):
            exec(compile(block.text, f"{block.page}:{block.line}", "exec"), self.names)
        return out.getvalue()

    def close(self) -> int:
        """Ends the server as Ctrl-C does, and returns its exit code."""
        if self.server is None:
            return 0
        self.server.process.send_signal(signal.SIGINT)
        return self.server.end(SERVER_SECONDS)


def rows_of(query: str) -> list[tuple[Any, ...]]:
    """What DuckDB finds."""
    found = duckdb.sql(query)
    assert found is not None, "a query, not a statement"
    return found.fetchall()


@contextmanager
def captured() -> Iterator[tuple[io.StringIO, io.StringIO]]:
    """What is printed meanwhile."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        yield out, err


def answer_of(said: str) -> dict[str, Any]:
    """The first picture in a server's answer."""
    found: dict[str, Any] = json.loads(said)["pictures"][0]
    return found


def section_of(page: Path, title: str) -> str:
    """The part of a page under a heading, up to the next one of any level."""
    parts = re.split(rf"^#+ {re.escape(title)}$", page.read_text("utf-8"), maxsplit=1, flags=re.MULTILINE)
    assert len(parts) == 2, f"{page.name} has no heading {title!r}"
    return re.split(r"^#+ (?=\S)", re.sub(r"^```.*?^```$", _quoted, parts[1], flags=re.M | re.S), flags=re.M)[
        0
    ].replace("\0", "#")


def _quoted(match: re.Match[str]) -> str:
    """A block whose comments are no headings."""
    return match[0].replace("#", "\0")


def links_of(page: Path) -> list[str]:
    """The files that a page links to or shows, addresses of the web left out."""
    found = re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8"))
    return [link for link in found if not re.match(r"[a-z]+:", link)]
