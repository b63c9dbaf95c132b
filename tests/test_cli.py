"""The command line: which command is called with what, exit codes, and the one line that a failure ends on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import raytl
from raytl import commands
from raytl.cli import main
from raytl.errors import ConfigError, DataError, MachineError, RaytlError, StorageError
from raytl.study import Study

Captured = pytest.CaptureFixture[str]


def raising(error: BaseException) -> Callable[..., int]:
    def command(*_arguments: object, **_options: object) -> int:
        raise error

    return command


def exit_code(*words: str) -> int:
    """The exit code, whichever way the process would end."""
    try:
        return main(words)
    except SystemExit as end:
        assert isinstance(end.code, int)
        return end.code


def test_the_version_is_said(capsys: Captured) -> None:
    assert exit_code("--version") == 0
    assert capsys.readouterr().out == f"raytl {raytl.__version__}\n"


def test_a_search_is_called_with_its_study_and_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[tuple[Study, Path, bool]] = []

    def search(study: Study, out: Path, dry_run: bool) -> int:
        calls.append((study, out, dry_run))
        return 5

    monkeypatch.setattr(commands, "search", search)
    assert main(["search", "photos", "--backbones", "resnet18", "--trials", "3", "--dry-run"]) == 5
    assert main(["search", "photos", "--out", str(tmp_path)]) == 5
    study, out, dry_run = calls[0]
    assert (study.data, study.backbones, study.trials) == ("photos", ("resnet18",), 3)
    assert (out, dry_run) == (Path("results/photos"), True)
    assert calls[1][1:] == (tmp_path, False)


def test_a_study_is_resumed_with_what_may_change(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[tuple[object, ...]] = []

    def resume(*given: object) -> int:
        calls.append(given)
        return 0

    monkeypatch.setattr(commands, "resume", resume)
    assert main(["resume", "a"]) == 0
    words = ["resume", "b", "--time", "2m", "--cache-gb", "3", "--data", "moved", "--address", "auto", "--changed-data"]
    assert main(words) == 0
    changes = {"data": "moved", "address": "auto", "time_limit_seconds": 120.0, "cache_gb": 3.0}
    assert calls == [(Path("a"), {}, False), (Path("b"), changes, True)]
    assert main(["resume", "a", "--time", "soon", "--cache-gb", "lots"]) == 2


@pytest.mark.parametrize(
    ("words", "function", "arguments"),
    [
        ("report a", "report", (Path("a"),)),
        ("list a", "show", (Path("a"),)),
        ("predict m a.png b", "predict", (Path("m"), [Path("a.png"), Path("b")])),
        ("data check a", "check_data", ("a",)),
        ("data sample digits a", "write_data_sample", ("digits", Path("a"))),
        ("doctor", "doctor", ()),
    ],
)
def test_each_command_is_called(
    words: str, function: str, arguments: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[object, ...]] = []

    def command(*given: object) -> int:
        calls.append(given)
        return 0

    monkeypatch.setattr(commands, function, command)
    assert main(words.split()) == 0
    assert calls == [arguments]


@pytest.mark.parametrize(
    ("error", "code", "what"),
    [
        (ConfigError("a=1: must be 2", "b=3: must be 4"), 2, "the command cannot be run as written"),
        (MachineError("no GPU"), 3, "this machine cannot do what was asked for"),
        (DataError("no class"), 4, "the pictures cannot be used as they are"),
        (StorageError("disk full"), 6, "files could not be read or written"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
@pytest.mark.parametrize("begun", [False, True])
def test_a_failure_ends_on_a_line_that_says_what_is_kept_and_what_to_type(
    error: BaseException, code: int, what: str, begun: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capsys: Captured,
) -> None:  # fmt: skip
    out = tmp_path / "out"
    if begun:
        out.mkdir()
        (out / "study.json").write_text("{}")
    monkeypatch.setattr(commands, "search", raising(error))
    assert main(["search", "--out", str(out)]) == code
    *problems, last = capsys.readouterr().err.splitlines()
    assert problems == [f"raytl: {line}" for line in (error.problems if isinstance(error, RaytlError) else ())]
    assert last.startswith(f"raytl: {what}; ")
    assert (f"all that was recorded is kept in {out};" if begun else "; nothing was recorded;") in last
    assert (f"type `raytl resume {out}`" if begun else "type the command again") in last


def test_a_failing_question_harms_no_study(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setattr(commands, "show", raising(StorageError("a: no study")))
    assert main(["list", "a"]) == 6
    assert capsys.readouterr().err.splitlines()[-1] == (
        "raytl: files could not be read or written; studies are as they were; mend it, then type the command again"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "the following arguments are required: COMMAND"),
        (("sarch",), "invalid choice: 'sarch'"),
        (("search", "--trails", "3"), "unrecognized arguments: --trails"),
        (("predict", "model"), "the following arguments are required: IMAGES"),
    ],
)
def test_words_that_are_not_understood_are_usage_errors(words: tuple[str, ...], said: str, capsys: Captured) -> None:
    assert exit_code(*words) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert said in last
    assert "; nothing was recorded; type `raytl" in last and "--help` for what can be said" in last


def test_every_wrong_option_is_named_at_once(capsys: Captured) -> None:
    assert main(["search", "--backbones", "resnet5O", "--trials", "x", "--searcher", "optunna", "--time", "1d"]) == 2
    said = capsys.readouterr().err
    assert all(value in said for value in ("'resnet5O'", "--trials x", "'optunna'", "'1d'"))
    assert said.splitlines()[-1].startswith("raytl: the command cannot be run as written; nothing was recorded; ")


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "doctor", raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        main(["doctor"])


def test_it_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "raytl.cli", "list", "no/such/folder"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "no/such/folder: no such folder" in done.stderr


def test_questions_about_tables_import_no_torch() -> None:
    code = "import sys, raytl.commands; print(sorted({'torch', 'ray', 'timm'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
