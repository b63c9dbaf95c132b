"""The options of `raytl search` and `raytl resume`: what each is for, and what is taken where it is left out."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from raytl.address import LOCAL, VARIABLE
from raytl.family import SCRATCH, Family
from raytl.metric import METRICS
from raytl.noise import DEBUG
from raytl.noise import VARIABLE as LOG_VARIABLE
from raytl.options import EMBEDDED, OWN_PICTURES
from raytl.study import POLICIES, SCHEDULERS, SEARCHERS, Study

_OF_STUDY = {item.name: item.default for item in fields(Study)}
_EPOCHS = f"{Family.epochs}, and {SCRATCH.epochs} from random weights"
_SEEDS = f"{OWN_PICTURES.confirm_seeds}, and {EMBEDDED.confirm_seeds} where no DATA is named"
_PATIENCE = f"{OWN_PICTURES.peer_timeout_seconds / 60:g}m"
_PLACE = "local|auto|ADDRESS"
_PLACES = (
    f"where Ray is: {LOCAL} starts one on this machine, auto joins the cluster that {VARIABLE} names or that runs "
    "here, an address such as HOST:6379 joins that one"
)


def add_search_options(parser: argparse.ArgumentParser) -> None:
    """The options of `raytl search`, which `experiments/search_all.py` shares. None given means the study's own."""
    add = parser.add_argument
    study = (
        "a Python file that says STUDY = Study(...) or NAME = ..., or study.json, whose settings are the defaults then"
    )
    add("--study", metavar="FILE[:NAME]", help=study)
    _add_search(parser)
    _add_confirmation(parser)
    _add_disk_limits(parser)
    _add_cost_limits(parser)
    _add_flags(parser)
    add("--class-map", type=Path, metavar="FILE", help="a CSV file of class and group, which groups classes")
    add("--out", type=Path, metavar="DIR", help="the study folder (default: results/<study>)")
    add("--storage", metavar="URL", help="keep a copy of the study folder there, such as s3://bucket/folder")
    add("--address", metavar=_PLACE, help=f"{_PLACES} (default: {VARIABLE}, else {LOCAL})")
    add("--detach", action="store_true", help="give the search to the cluster as a job; it needs this machine no more")
    _add_own(parser, "--seed", "N", "of splits, searchers and trials; final models count up from it")
    add("--set", action="append", default=[], metavar="FIELD=VALUE", help="fix a recipe field, or lr=1e-5..1e-2, a|b")
    add("--dry-run", action="store_true", help="check all, say what would be done and about how long, and stop")
    _add_output_options(parser)


def _add_search(parser: argparse.ArgumentParser) -> None:
    add, small = parser.add_argument, ",".join(OWN_PICTURES.backbones)
    add("--backbones", metavar="A,B", help=f"timm or torchvision names, or the carried tiny_ ones (default: {small})")
    _add_own(parser, "--weights", "pretrained|none|DIR", "published, random, or <backbone>.safetensors|.pth there")
    _add_own(parser, "--trials", "N", "search trials per backbone")
    add("--epochs", metavar="N", help=f"epochs of a full run (default: {_EPOCHS})")
    add("--image-size", metavar="PIXELS", help="of pictures (default: each backbone's own size)")
    add("--time", metavar="30m", help="the search ends after 60%% of it; final models follow (default: no limit)")
    _add_own(parser, "--searcher", "|".join(SEARCHERS), "who proposes recipes")
    _add_own(parser, "--scheduler", "|".join(SCHEDULERS), "who stops poor trials early")
    _add_own(parser, "--policy", "|".join(POLICIES), "heads first and depth where it pays, or all trials alike")
    _add_own(parser, "--metric", "|".join(METRICS), "the validation figure that decides everything")
    _add_own(parser, "--workers-per-trial", "N", "DDP workers of each trial")
    _add_own(parser, "--trials-per-gpu", "N", "trials of one worker that share a GPU")
    patience = f"how long the workers of a trial wait for one that has frozen (default: {_PATIENCE})"
    add("--peer-timeout", metavar="5m", help=patience)


def _add_confirmation(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    seeds = f"how often the best recipes are trained again (default: {_SEEDS})"
    add("--confirm-seeds", metavar="N", help=seeds)
    longer = "epochs of final models, where they run longer than trials (default: as trials)"
    add("--confirm-epochs", metavar="N", help=longer)
    _add_own(parser, "--splits", "N", "repeat the confirmation over N splits")


def _add_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--drop-suspect", action="store_true", default=None, help="leave out pictures that look like placeholders")
    add("--allow-bad", action="store_true", default=None, help="go on where over 1%% of a class cannot be read")
    add("--weight-histograms", action="store_true", default=None, help="show each stage's weights in TensorBoard")
    add("--keep-finals", action="store_true", default=None, help="keep the weights of every final model, for ensembles")


def add_resume_options(parser: argparse.ArgumentParser) -> None:
    """The options of `raytl resume`: how long and where a study goes on, not what it is."""
    parser.add_argument(
        "--data", action="append", metavar="DATA", help="where its pictures are now; once for each of several sources"
    )
    parser.add_argument("--time", metavar="30m", help="what is left of the search ends after 60%% of it")
    _add_disk_limits(parser)
    parser.add_argument("--address", metavar="local|auto|ADDRESS", help=f"{_PLACES} (default: the study's)")
    parser.add_argument(
        "--peer-timeout", metavar="5m", help="how long workers wait for a frozen one (default: the study's)"
    )
    parser.add_argument("--storage", metavar="URL", help="where a copy is kept; fills a folder that is empty")
    _add_cost_limits(parser)
    parser.add_argument("--changed-data", action="store_true", help="go on although its pictures have changed")
    _add_output_options(parser)


def _add_disk_limits(parser: argparse.ArgumentParser) -> None:
    frozen = "disk for what frozen stages make of pictures (default: a tenth of the free)"
    parser.add_argument("--cache-gb", metavar="GB", help=frozen)
    decoded = "disk for decoded pictures (default: most of the free); others are decoded as they are read"
    parser.add_argument("--store-gb", metavar="GB", help=decoded)


def _add_cost_limits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--max-latency-ms", metavar="MS", help="no model that takes longer a picture may be the answer")
    parser.add_argument("--max-size-mb", metavar="MB", help="no model whose weights are larger may be the answer")
    parser.add_argument("--budget-hours", metavar="H", help="limit in hours of GPUs, or of workers without one")
    parser.add_argument("--price", action="append", metavar="[TYPE=]PER_HOUR", help="of a machine; costs are told")


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--quiet", action="store_true", help="print the result alone, and errors")
    mode.add_argument("--json", action="store_true", help="print one JSON object per event, words to standard error")
    parser.add_argument(
        "--verbose", action="store_true", help=f"show all that libraries say, as {LOG_VARIABLE}={DEBUG} does"
    )


def _add_own(parser: argparse.ArgumentParser, option: str, metavar: str, what: str) -> None:
    """An option of a study's field of the same name, with what a study takes where it is left out."""
    default = _OF_STUDY[option.removeprefix("--").replace("-", "_")]
    parser.add_argument(option, metavar=metavar, help=f"{what} (default: {default})")
