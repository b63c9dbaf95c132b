"""The words of the commands that make something of a finished study's models: ensemble, distill.

What they need is imported when called.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from raytl.model_words import Commands
from raytl.wish import BEST, MEAN, MOST_MEMBERS, SEEDS, Wish


def add_afterwards_commands(commands: Commands) -> None:
    """Adds them to the command line, each with what to call."""
    _add_ensemble(commands)
    _add_distill(commands)


def make_ensemble(options: argparse.Namespace) -> int:
    """`raytl ensemble`."""
    from raytl.ensemble_command import ensemble

    return ensemble(options.folder, options.max_members, options.data)


def make_student(options: argparse.Namespace) -> int:
    """`raytl distill`."""
    from raytl.distill_command import distill

    return distill(options.folder, Wish(options.into, options.teacher, options.seeds), options.data)


def _add_ensemble(commands: Commands) -> None:
    ensemble = commands.add_parser("ensemble", help="make the best mean of a finished study's final models")
    ensemble.add_argument("folder", type=Path, metavar="DIR", help="a study folder")
    ensemble.add_argument(
        "--max-members",
        type=_whole,
        default=MOST_MEMBERS,
        metavar="N",
        help="at most so many (default: %(default)s)",
    )
    ensemble.add_argument("--data", metavar="DATA", help="where its pictures are now")
    ensemble.set_defaults(call=make_ensemble)


def _add_distill(commands: Commands) -> None:
    distill = commands.add_parser("distill", help="teach a small backbone what a finished study's answer knows")
    distill.add_argument("folder", type=Path, metavar="DIR", help="a study folder")
    distill.add_argument("--into", metavar="BACKBONE", help="the student (default: the study's smallest backbone)")
    distill.add_argument(
        "--teacher", choices=(BEST, MEAN), default=BEST, help="the answer, or what `raytl ensemble` made"
    )
    distill.add_argument("--seeds", type=int, default=SEEDS, metavar="N", help="of students (default: %(default)s)")
    distill.add_argument("--data", metavar="DATA", help="where its pictures are now")
    distill.set_defaults(call=make_student)


def _whole(text: str) -> int:
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"{text!r}: give a whole number from 2 on")
    return int(text)
