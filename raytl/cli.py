"""The command line: parse, call, exit code. Whatever a command needs is imported when it is called."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from raytl import __version__
from raytl.errors import RaytlError
from raytl.options import add_resume_options, add_search_options, resume_changes, study_of
from raytl.results.folder import StudyFolder
from raytl.stops import INTERRUPTED, orderly

_WHAT = {
    2: "the command cannot be run as written",
    3: "this machine cannot do what was asked for",
    4: "the pictures cannot be used as they are",
    6: "files could not be read or written",
}


class _Parser(argparse.ArgumentParser):
    """Ends on one line that says what happened, what is kept and what to type next."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(2, f"raytl: {message}; nothing was recorded; type `{self.prog} --help` for what can be said\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; 0 well, 2 usage, 3 machine, 4 data, 5 trials failed, 6 storage, 130 interrupted."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    try:
        with orderly(lambda: _interrupted(options)):
            code: int = options.call(options)
    except RaytlError as error:
        for problem in error.problems:
            print(f"raytl: {problem}", file=sys.stderr)
        what = f"raytl: {_WHAT[error.exit_code]}; {_kept(options)}; mend it, then type {_again(options)}"
        print(what, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(_interrupted(options), file=sys.stderr)
        return INTERRUPTED
    return code


def _interrupted(options: argparse.Namespace) -> str:
    return f"raytl: interrupted; {_kept(options)}; type {_again(options)} to go on from there"


def _kept(options: argparse.Namespace) -> str:
    """What of a command's work there is, and where."""
    if options.call not in (_search, _resume):
        return "studies are as they were"
    return f"all that was recorded is kept in {options.out}" if _is_study(options) else "nothing was recorded"


def _again(options: argparse.Namespace) -> str:
    """What goes on with an interrupted command."""
    return f"`raytl resume {options.out}`" if _is_study(options) else "the command again"


def _is_study(options: argparse.Namespace) -> bool:
    """Whether the command's study has begun to be recorded."""
    out = getattr(options, "out", None)
    return out is not None and StudyFolder(out).study_json.exists()


def make_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = _Parser(prog="raytl", description="Find the best way to fine-tune an image classifier.")
    parser.add_argument("--version", action="version", version=f"raytl {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    search = commands.add_parser("search", help="search, confirm and report on a folder of labelled pictures")
    search.add_argument("data", nargs="?", metavar="DATA", help="folder of classes, CSV or Parquet, or a sample's name")
    add_search_options(search)
    search.set_defaults(call=_search)
    resume = commands.add_parser("resume", help="go on with a study that was interrupted")
    resume.add_argument("out", type=Path, metavar="DIR", help="its folder")
    add_resume_options(resume)
    resume.set_defaults(call=_resume)
    for name, call, text in (
        ("report", _report, "write tables and report.html anew from a study's ledger"),
        ("list", _list, "print a study's leaderboard"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("folder", type=Path, metavar="DIR", help="a study folder")
        command.set_defaults(call=call)
    _add_predict(commands)
    _add_data(commands)
    doctor = commands.add_parser("doctor", help="say what this machine can do")
    doctor.set_defaults(call=_doctor)
    return parser


def _add_predict(commands: argparse._SubParsersAction[_Parser]) -> None:
    predict = commands.add_parser("predict", help="classify pictures with a saved model")
    predict.add_argument("model", type=Path, metavar="MODEL", help="a folder under models/ of a study")
    predict.add_argument("images", type=Path, nargs="+", metavar="IMAGES", help="files or folders")
    predict.set_defaults(call=_predict)


def _add_data(commands: argparse._SubParsersAction[_Parser]) -> None:
    data = commands.add_parser("data", help="check pictures, or write an embedded sample").add_subparsers(required=True)
    check = data.add_parser("check", help="open every picture and say what is wrong")
    check.add_argument("data", metavar="DATA")
    check.set_defaults(call=_data_check)
    sample = data.add_parser("sample", help="write an embedded data set as a folder of classes")
    sample.add_argument("name", metavar="NAME")
    sample.add_argument("folder", type=Path, metavar="DIR")
    sample.set_defaults(call=_data_sample)


def _search(options: argparse.Namespace) -> int:
    study = study_of(options)
    options.out = options.out or Path("results") / study.name
    from raytl.commands import search

    return search(study, options.out, dry_run=options.dry_run)


def _resume(options: argparse.Namespace) -> int:
    changes = resume_changes(options)
    from raytl.commands import resume

    return resume(options.out, changes, options.changed_data)


def _report(options: argparse.Namespace) -> int:
    from raytl.commands import report

    return report(options.folder)


def _list(options: argparse.Namespace) -> int:
    from raytl.commands import show

    return show(options.folder)


def _predict(options: argparse.Namespace) -> int:
    from raytl.commands import predict

    return predict(options.model, options.images)


def _data_check(options: argparse.Namespace) -> int:
    from raytl.commands import check_data

    return check_data(options.data)


def _data_sample(options: argparse.Namespace) -> int:
    from raytl.commands import write_data_sample

    return write_data_sample(options.name, options.folder)


def _doctor(options: argparse.Namespace) -> int:
    from raytl.commands import doctor

    return doctor()


if __name__ == "__main__":
    sys.exit(main())
