"""The words of the commands about pictures: check, sample, fetch; what they need is imported when called."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, TypeAlias

from raytl.data.public import public_lines

Commands: TypeAlias = "argparse._SubParsersAction[Any]"  # of whatever parser has them


def add_data_commands(commands: Commands) -> None:
    """Adds them to the command line, each with what to call. Their options, too, are to be written whole."""
    words = commands.add_parser("data", help="check pictures, fetch public ones, or write an embedded sample")
    data = words.add_subparsers(required=True)
    _add_check(data)
    _add_sample(data)
    _add_fetch(data)
    for command in data.choices.values():
        command.allow_abbrev = False


def fetch_data(options: argparse.Namespace) -> int:
    """What `raytl data fetch` calls."""
    from raytl.commands import fetch_data as fetch

    return fetch(options.name, options.folder, options.archive)


def _add_check(data: Commands) -> None:
    check = data.add_parser("check", help="open every picture and say what is wrong")
    check.add_argument("data", nargs="+", metavar="DATA", help="as `raytl search` takes it; several are taken together")
    check.add_argument("--class-map", type=Path, metavar="FILE", help="a CSV file of class and group")
    check.set_defaults(call=_check)


def _add_sample(data: Commands) -> None:
    sample = data.add_parser("sample", help="write an embedded data set as a folder of classes")
    sample.add_argument("name", metavar="NAME[:N]", help="such as drawn-flowers, or drawn-flowers:20 of each class")
    sample.add_argument("folder", type=Path, metavar="DIR")
    sample.set_defaults(call=_sample)


def _add_fetch(data: Commands) -> None:
    fetch = data.add_parser("fetch", help="bring a public data set to a folder of classes")
    fetch.add_argument("name", metavar="NAME", help=f"one of {'; '.join(public_lines())}")
    fetch.add_argument("--out", dest="folder", type=Path, metavar="DIR", help="the new folder (default: data/<name>)")
    fetch.add_argument("--archive", type=Path, metavar="FILE", help="unpack this one, which was got by hand")
    fetch.set_defaults(call=fetch_data)


def _check(options: argparse.Namespace) -> int:
    from raytl.commands import check_data

    return check_data(options.data, options.class_map)


def _sample(options: argparse.Namespace) -> int:
    from raytl.commands import write_data_sample

    return write_data_sample(options.name, options.folder)
