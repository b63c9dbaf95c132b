"""What `--help` says of a search: each option's default, as the study that is taken without it has it."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable

import pytest

from raytl.family import default_recipe
from raytl.options import EMBEDDED, OWN_PICTURES
from raytl.study import Study
from raytl.study_words import add_resume_options, add_search_options


def told(add: Callable[[argparse.ArgumentParser], None]) -> dict[str, str]:
    """What is said of each option."""
    parser = argparse.ArgumentParser(
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=100, width=1000)
    )
    add(parser)
    return dict(re.findall(r"^  (--[\w-]+).*?  +(\S.*)$", parser.format_help(), re.MULTILINE))


SEARCH = told(add_search_options)


@pytest.mark.parametrize(
    ("option", "field"),
    [
        ("--trials", "trials"),
        ("--searcher", "searcher"),
        ("--scheduler", "scheduler"),
        ("--policy", "policy"),
        ("--metric", "metric"),
        ("--weights", "weights"),
        ("--splits", "splits"),
        ("--seed", "seed"),
        ("--workers-per-trial", "workers_per_trial"),
        ("--trials-per-gpu", "trials_per_gpu"),
    ],
)
def test_a_default_is_the_one_that_is_taken(option: str, field: str) -> None:
    values = {getattr(each, field) for each in (EMBEDDED, OWN_PICTURES, Study(name="a", data="b", backbones=("c",)))}
    assert {SEARCH[option].partition("(default: ")[2]} == {f"{value})" for value in values}


def test_defaults_that_depend_on_something_say_on_what() -> None:
    own, scratch = (default_recipe("tiny_vit", weights).epochs for weights in ("pretrained", "none"))
    assert SEARCH["--epochs"].endswith(f"(default: {own}, and {scratch} from random weights)")
    seeds = OWN_PICTURES.confirm_seeds, EMBEDDED.confirm_seeds
    assert SEARCH["--confirm-seeds"].endswith("(default: {}, and {} where no DATA is named)".format(*seeds))
    assert SEARCH["--peer-timeout"].endswith("(default: 5m)") and OWN_PICTURES.peer_timeout_seconds == 300
    assert SEARCH["--backbones"].endswith("(default: tiny_mobilenet,tiny_resnet,tiny_vit)")


def test_words_for_places_are_explained() -> None:
    words = "local starts one on this machine, auto joins the cluster that RAY_ADDRESS names or that runs here, an add"
    assert all(words in told(add)["--address"] for add in (add_search_options, add_resume_options))
    assert SEARCH["--address"].endswith("(default: RAY_ADDRESS, else local)")
