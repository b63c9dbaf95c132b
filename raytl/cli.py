"""The command line: parse, call, exit code. Whatever a command needs is imported when it is called."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from raytl import __version__
from raytl.afterwards_words import add_afterwards_commands, make_ensemble, make_student
from raytl.choice import nearest
from raytl.data_words import add_data_commands, fetch_data
from raytl.errors import RaytlError, system_problem
from raytl.model_words import add_model_commands
from raytl.noise import is_wanted
from raytl.options import (
    defaults_taken,
    likely_folder,
    output_of,
    resume_changes,
    study_of,
)
from raytl.redaction import redacted
from raytl.results.folder import StudyFolder
from raytl.stops import INTERRUPTED, orderly
from raytl.storage import folder_or_address, name_at
from raytl.study_words import add_resume_options, add_search_options
from raytl.unread import UNREAD, silence_unread

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
        self.exit(2, f"raytl: {message}; studies are as they were; type `{self.prog} --help` for what can be said\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; 0 well, 2 usage, 3 machine, 4 data, 5 trials failed, 6 storage, 130 interrupted, 141 unread."""
    parser = make_parser()
    options, strange = parser.parse_known_args(arguments)
    if strange:
        parser.error(f"unrecognized arguments: {' '.join(strange)}{_meant(strange[0], options)}")
    try:
        with orderly(lambda: _interrupted(options), lambda: _ending(options)):
            code: int = options.call(options)
            print(end="", flush=True)
        return code
    except RaytlError as error:
        return _failed(error, options)
    except KeyboardInterrupt:
        print(_interrupted(options), file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        if isinstance(error, BrokenPipeError) and silence_unread():
            return UNREAD
        if is_wanted():
            traceback.print_exc()
        return _failed(system_problem(error), options)


def _failed(error: RaytlError, options: argparse.Namespace) -> int:
    for problem in error.problems:
        print(f"raytl: {redacted(problem)}", file=sys.stderr)
    what = f"raytl: {_WHAT[error.exit_code]}; {_kept(options)}; mend it, then type {_again(options)}"
    print(what, file=sys.stderr)
    return error.exit_code


def _meant(word: str, options: argparse.Namespace) -> str:
    """The option of the command that a word comes near, where there is one; options are not to be shortened."""
    word = word.partition("=")[0]
    known = [f"--{name.replace('_', '-')}" for name in vars(options)]
    longer = [name for name in known if word.startswith("--") and name.startswith(word)]
    return nearest(word, longer[:1] or known)


def _ending(options: argparse.Namespace) -> str:
    """What is said at the first Ctrl-C, before the command has ended."""
    what = "ending trials" if options.call in (_search, _resume) else "ending"
    return f"raytl: interrupted: {what}, press again to stop at once"


def _interrupted(options: argparse.Namespace) -> str:
    onwards = "" if options.call is _rerun else " to go on from there"
    return f"raytl: interrupted; {_kept(options)}; type {_again(options)}{onwards}"


def _kept(options: argparse.Namespace) -> str:
    """What of a command's work there is, and where."""
    if options.call is fetch_data:
        return "what came so far is kept unless said otherwise"
    if _is_cut_rerun(options):
        return f"the study is as it was, and {options.target} holds what was repeated of the trial so far"
    if options.call in (make_ensemble, make_student):
        return f"all that was recorded is kept in {options.folder}"
    target = _study_folder(options)
    if target is None:
        return "studies are as they were"
    return f"all that was recorded is kept in {target}" if _is_begun(target) else "nothing was recorded"


def _again(options: argparse.Namespace) -> str:
    """What goes on with a command that has ended early: its study, if it began it, since that has all it asked for.

    Of a study that was there before, the command may have asked for something else.
    """
    if _is_cut_rerun(options):
        return "the command again with another --out, which begins the trial anew"
    target = _study_folder(options)
    begun = target is not None and options.is_new and _is_begun(target)
    return f"`raytl resume {target}`" if begun else "the command again"


def _study_folder(options: argparse.Namespace) -> Path | None:
    """Where the command records a study; a repeated trial's folder holds none to go on with."""
    target: Path | None = getattr(options, "target", None)
    records = options.call in (_search, _resume) and target is not None and not _is_rerun(target)
    return target if records else None


def _is_cut_rerun(options: argparse.Namespace) -> bool:
    """Whether the command repeats a trial and has recorded a part of it, in a folder where no study was."""
    return options.call is _rerun and getattr(options, "is_new", False) and _is_begun(options.target)


def _is_begun(folder: Path) -> bool:
    try:
        return StudyFolder(folder).study_json.exists()
    except OSError:  # a folder that this user may not look into
        return False


def _is_rerun(folder: Path) -> bool:
    try:
        return "rerun_of" in StudyFolder(folder).read_study()
    except RaytlError:
        return False


def make_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = _Parser(
        prog="raytl", description="Find the best way to fine-tune an image classifier.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"raytl {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    search = commands.add_parser("search", help="search, confirm and report on a folder of labelled pictures")
    search.add_argument(
        "data", nargs="*", metavar="DATA", help="folders of classes, CSV, Parquet, archives, or a sample's name"
    )
    add_search_options(search)
    search.set_defaults(call=_search)
    resume = commands.add_parser("resume", help="go on with a study that was interrupted")
    resume.add_argument(
        "out", type=folder_or_address, metavar="DIR|URL", help="its folder, or where a copy is: into results/<name>"
    )
    add_resume_options(resume)
    resume.set_defaults(call=_resume)
    for name, call, text in (
        ("report", _report, "write tables and report.html anew from a study's ledger"),
        ("list", _list, "print a study's leaderboard"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument(
            "folder", type=folder_or_address, metavar="DIR|URL", help="a study folder, or the address of its copy"
        )
        command.set_defaults(call=call)
    _add_compare(commands)
    _add_rerun(commands)
    add_afterwards_commands(commands)
    _add_results(commands)
    add_model_commands(commands)
    add_data_commands(commands)
    doctor = commands.add_parser("doctor", help="say what this machine can do")
    doctor.add_argument(
        "out", nargs="?", type=Path, default=Path("results"), metavar="DIR", help="of studies (default: %(default)s)"
    )
    doctor.set_defaults(call=_doctor)
    for command in commands.choices.values():
        command.allow_abbrev = False  # `--epoch` would pass for `--epochs` until a later version has both
    return parser


def _add_compare(commands: argparse._SubParsersAction[_Parser]) -> None:
    compare = commands.add_parser("compare", help="say whether the answers of two studies differ")
    compare.add_argument("a", type=Path, metavar="A", help="a study folder")
    compare.add_argument("b", type=Path, metavar="B", help="another one")
    compare.add_argument("--backbone", metavar="NAME", help="compare the best final models of this backbone")
    compare.set_defaults(call=_compare)


def _add_rerun(commands: argparse._SubParsersAction[_Parser]) -> None:
    rerun = commands.add_parser("rerun", help="repeat one trial of a study and say whether its figures come again")
    rerun.add_argument("folder", type=Path, metavar="DIR", help="a study folder")
    rerun.add_argument("trial_id", metavar="TRIAL_ID", help="a trial of it, as in its tables")
    rerun.add_argument("--out", dest="target", type=Path, metavar="DIR", help="(default: <DIR>-rerun-<TRIAL_ID>)")
    rerun.add_argument("--changed-data", action="store_true", help="repeat it although the pictures have changed")
    rerun.set_defaults(call=_rerun)


def _add_results(commands: argparse._SubParsersAction[_Parser]) -> None:
    results = commands.add_parser("results", help="give a study's tables to other tools")
    results.add_argument("folder", type=Path, metavar="DIR", help="a study folder")
    results.add_argument("--csv", type=Path, metavar="FOLDER", help="write five CSV files there")
    results.add_argument("--sql", metavar="URL", help="put five tables into a database, such as sqlite:///studies.db")
    results.add_argument("--mlflow", metavar="URI", help="send runs to an MLflow store, such as http://HOST:5000")
    results.set_defaults(call=_results)


def _search(options: argparse.Namespace) -> int:
    _aim(options, likely_folder(options))
    study = study_of(options)
    _aim(options, options.out or Path("results") / study.name)
    if not options.quiet and (line := defaults_taken(options)):
        print(line, file=sys.stderr, flush=True)
    if options.detach:
        from raytl.study_commands import detach

        words = [
            f"--{name.replace('_', '-')}" for name in ("dry_run", "quiet", "json", "verbose") if vars(options)[name]
        ]
        return detach(study, options.out, words)
    from raytl.commands import search

    return search(study, options.target, dry_run=options.dry_run, output=output_of(options))


def _aim(options: argparse.Namespace, target: Path | None) -> None:
    """Notes where the command records its study, if that is known, and whether one was there before."""
    options.target, options.is_new = target, target is not None and not _is_begun(target)


def _resume(options: argparse.Namespace) -> int:
    if isinstance(options.out, str):
        options.storage, options.out = options.storage or options.out, Path("results") / name_at(options.out)
    _aim(options, options.out)
    changes = resume_changes(options)
    from raytl.commands import resume

    return resume(options.out, changes, options.changed_data, output_of(options))


def _report(options: argparse.Namespace) -> int:
    from raytl.commands import report

    return report(options.folder)


def _list(options: argparse.Namespace) -> int:
    from raytl.commands import show

    return show(options.folder)


def _compare(options: argparse.Namespace) -> int:
    from raytl.study_commands import compare

    return compare(options.a, options.b, options.backbone)


def _rerun(options: argparse.Namespace) -> int:
    from raytl.study_commands import rerun, rerun_folder

    _aim(options, options.target or rerun_folder(options.folder, options.trial_id))
    return rerun(options.folder, options.trial_id, options.target, options.changed_data)


def _results(options: argparse.Namespace) -> int:
    from raytl.commands import give_results

    return give_results(options.folder, options.csv, options.sql, options.mlflow)


def _doctor(options: argparse.Namespace) -> int:
    from raytl.commands import doctor

    return doctor(options.out)


if __name__ == "__main__":
    sys.exit(main())
