"""The command line: which command is called with what, exit codes, and the one line that a failure ends on."""

from __future__ import annotations

import argparse
import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import raytl
from raytl import commands, model_commands, study_commands
from raytl.cli import main, make_parser
from raytl.errors import ConfigError, DataError, MachineError, RaytlError, StorageError
from raytl.model_commands import Wishes
from raytl.output import SHOWN, Output
from raytl.study import Study

Captured = pytest.CaptureFixture[str]


def raising(error: BaseException) -> Callable[..., int]:
    def command(*_arguments: object, **_options: object) -> int:
        raise error

    return command


def begin_study(folder: Path) -> None:
    """What a search leaves when it has begun to record."""
    folder.mkdir(parents=True)
    (folder / "study.json").write_text("{}")


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

    def search(study: Study, out: Path, dry_run: bool, output: Output) -> int:
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
    words += ["--max-latency-ms", "20", "--budget-hours", "4", "--price", "gpu=3"]
    assert main(words) == 0
    changes = {"data": "moved", "address": "auto", "time_limit_seconds": 120.0, "cache_gb": 3.0, "max_latency_ms": 20.0}
    changes |= {"budget_hours": 4.0, "prices": {"gpu": 3.0}}
    assert calls == [(Path("a"), {}, False, SHOWN), (Path("b"), changes, True, SHOWN)]
    assert main(["resume", "a", "--time", "soon", "--cache-gb", "lots"]) == 2
    assert main(["resume", "s3://bucket/studies/a", "--address", "local"]) == 0
    assert calls[2][:2] == (Path("results/a"), {"address": "local", "storage": "s3://bucket/studies/a"})


@pytest.mark.parametrize(
    ("words", "function", "arguments"),
    [
        ("report a", "report", (Path("a"),)),
        ("list a", "show", (Path("a"),)),
        ("list s3://bucket/a", "show", ("s3://bucket/a",)),
        ("data check a", "check_data", (["a"], None)),
        ("data check a b --class-map c.csv", "check_data", (["a", "b"], Path("c.csv"))),
        ("data sample digits a", "write_data_sample", ("digits", Path("a"))),
        ("data fetch flowers", "fetch_data", ("flowers", None, None)),
        ("data fetch a --out b --archive c.zip", "fetch_data", ("a", Path("b"), Path("c.zip"))),
        ("doctor", "doctor", (Path("results"),)),
        ("doctor a", "doctor", (Path("a"),)),
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
    ("words", "function", "arguments"),
    [
        ("predict m a.png b", "predict", (Path("m"), [Path("a.png"), Path("b")], Wishes())),
        ("predict m --explain a.png", "predict", (Path("m"), [Path("a.png")], Wishes(heat=Path("heat")))),
        ("predict m a --explain-out b", "predict", (Path("m"), [Path("a")], Wishes(heat=Path("b")))),
        (
            "predict m a --out t.csv --batch 8 --top 2",
            "predict",
            (Path("m"), [Path("a")], Wishes(Path("t.csv"), 8, 2)),
        ),
        ("export m --format timm", "export_timm", (Path("m"), None)),
        ("export m --format timm --out a", "export_timm", (Path("m"), Path("a"))),
        ("export m --format onnx", "export_onnx", (Path("m"), None, False, None)),
        (
            "export m --format onnx --out a.onnx --int8 --calibrate d",
            "export_onnx",
            (Path("m"), Path("a.onnx"), True, "d"),
        ),
    ],
)
def test_each_command_about_models_is_called(
    words: str, function: str, arguments: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[object, ...]] = []

    def command(*given: object) -> int:
        calls.append(given)
        return 3

    monkeypatch.setattr(model_commands, function, command)
    assert main(words.split()) == 3
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

    def search(*_arguments: object, **_options: object) -> int:
        if begun:
            begin_study(out)
        raise error

    monkeypatch.setattr(commands, "search", search)
    assert main(["search", "--out", str(out)]) == code
    _taken, *problems, last = capsys.readouterr().err.splitlines()
    assert problems == [f"raytl: {line}" for line in (error.problems if isinstance(error, RaytlError) else ())]
    assert last.startswith(f"raytl: {what}; ")
    assert (f"all that was recorded is kept in {out};" if begun else "; nothing was recorded;") in last
    assert (f"type `raytl resume {out}`" if begun else "type the command again") in last


@pytest.mark.parametrize("error", [ConfigError("epochs"), MachineError("64 workers"), KeyboardInterrupt()])
@pytest.mark.parametrize("words", ["search photos --backbones tiny_vit", "resume results/photos"])
def test_a_study_that_was_there_before_may_not_be_what_the_command_asked_for(
    words: str, error: BaseException, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    begin_study(Path("results/photos"))
    for name in ("search", "resume"):
        monkeypatch.setattr(commands, name, raising(error))
    assert main(words.split()) in (2, 3, 130)
    last = capsys.readouterr().err.splitlines()[-1]
    assert "; all that was recorded is kept in results/photos;" in last and "type the command again" in last
    assert "raytl resume" not in last


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ("search photos --trials x", "all that was recorded is kept in results/photos"),
        ("search --trials x", "nothing was recorded"),
        ("search new --trials x", "nothing was recorded"),
        ("search new --out results/photos --trials x", "all that was recorded is kept in results/photos"),
        ("search --study no.py --trials x", "studies are as they were"),
        ("resume results/photos --time soon", "all that was recorded is kept in results/photos"),
    ],
)
def test_wrong_options_do_not_hide_a_study_that_is_there(
    words: str, kept: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    begin_study(Path("results/photos"))
    assert main(words.split()) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"raytl: the command cannot be run as written; {kept}; mend it, then type the command again"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("search", "no pictures were named: the embedded drawn-flowers are taken; for your own type `raytl search FO"),
        ("search photos", "no backbones were named: tiny_mobilenet, tiny_resnet, tiny_vit are taken, small ones for "),
        ("search photos --backbones tiny_vit", ""),
        ("search --quiet", ""),
    ],
)
def test_what_is_taken_in_the_place_of_what_was_not_named(
    words: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr(commands, "search", lambda *_, **__: 0)
    assert main(words.split()) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == bool(said) and "".join(lines).startswith(said)


@pytest.mark.parametrize("words", [["search", ""], ["search", "a", " "], ["data", "check", ""]])
def test_empty_words_are_no_pictures(words: list[str], capsys: Captured) -> None:
    assert main(words) in (2, 4)
    assert "raytl: data '': is empty, as an unset variable of the shell is" in capsys.readouterr().err


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and those of its commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from parsers(command)


def test_no_option_may_be_shortened(capsys: Captured) -> None:
    found = list(parsers(make_parser()))
    assert len(found) > 15 and not any(parser.allow_abbrev for parser in found)
    assert exit_code("search", "photos", "--epoch", "3") == 2
    assert "unrecognized arguments: --epoch 3, did you mean '--epochs'?" in capsys.readouterr().err
    assert exit_code("search", "photos", "--workers=3") == 2
    assert "--workers=3, did you mean '--workers-per-trial'?" in capsys.readouterr().err
    assert exit_code("data", "check", "photos", "--class", "a.csv") == 2
    assert "did you mean '--class-map'?" in capsys.readouterr().err


@pytest.mark.parametrize("begun", [False, True])
def test_an_interrupted_rerun_says_where_its_part_is(
    begun: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Captured
) -> None:
    target = tmp_path / "a-rerun-t1"

    def rerun(_root: Path, _trial_id: str, out: Path, _changed_data: bool) -> int:
        if begun:
            begin_study(out)
        raise KeyboardInterrupt

    monkeypatch.setattr(study_commands, "rerun", rerun)
    assert main(["rerun", str(tmp_path / "a"), "t1"]) == 130
    said = capsys.readouterr().err.splitlines()[-1]
    if begun:
        assert said == (
            f"raytl: interrupted; the study is as it was, and {target} holds what was repeated of the trial so far; "
            "type the command again with another --out, which begins the trial anew"
        )
    else:
        assert said == "raytl: interrupted; studies are as they were; type the command again"


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
    assert "; studies are as they were; type `raytl" in last and "--help` for what can be said" in last


def test_every_wrong_option_is_named_at_once(capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where there is no results/flowers of somebody's own
    assert main(["search", "--backbones", "resnet5O", "--trials", "x", "--searcher", "optunna", "--time", "1d"]) == 2
    said = capsys.readouterr().err
    assert all(value in said for value in ("'resnet5O'", "--trials x", "'optunna'", "'1d'"))
    assert said.splitlines()[-1].startswith("raytl: the command cannot be run as written; nothing was recorded; ")


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "doctor", raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        main(["doctor"])


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "/nowhere/x"),
            "/nowhere/x: Permission denied; this user may not do that there; have the rights changed, or give another "
            "place",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "/small/0.png"),
            "/small/0.png: No space left on device; make room on that disk, or give a place on another",
        ),
        (TimeoutError(), "TimeoutError; mend it, or give another place"),
    ],
)
def test_what_the_system_refuses_is_told_in_a_line(
    error: OSError, said: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr(commands, "write_data_sample", raising(error))
    assert main(["data", "sample", "digits", "a"]) == 6
    assert capsys.readouterr().err.splitlines() == [
        f"raytl: {said}",
        "raytl: files could not be read or written; studies are as they were; mend it, then type the command again",
    ]


def test_a_folder_that_this_user_may_not_look_into_ends_in_no_traceback(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Captured
) -> None:
    closed = close(tmp_path, monkeypatch)
    assert main(["search", "drawn-flowers:5", "--out", str(closed / "x")]) == 6
    assert f"raytl: {closed / 'x'}: cannot be looked into (Permission denied); give" in capsys.readouterr().err
    assert main(["resume", str(closed / "x")]) == 6
    assert f"raytl: {closed / 'x' / 'study.json'}: cannot be read ([Errno 13]" in capsys.readouterr().err


def close(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that nobody may look into; tests may run as root, who may."""
    closed, stat = tmp_path / "closed", Path.stat
    closed.mkdir()

    def refusing(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if closed in path.parents:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", refusing)
    return closed


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_command_whose_reader_has_gone_ends_without_complaint(
    lines: int, unbuffered: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line is printed when the process ends, many are while the command prints."""
    code = f"""
import sys
from raytl import cli, commands
commands.show = lambda place: print("a line\\n" * {lines}) or 0
sys.exit(cli.main(["list", "a"]))
"""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


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
