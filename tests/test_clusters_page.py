"""docs/clusters.md: every command in it is one that its program understands, and every file it names is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from ray.scripts.scripts import cli as ray_cli

from raytl.cli import make_parser

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "clusters.md"


@pytest.fixture(autouse=True)
def experiments(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a file in experiments/ finds when it is run."""
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))


def commands() -> list[list[str]]:
    """The words of every line in a block of code."""
    blocks = re.findall(r"^```\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


def understand(words: list[str]) -> None:
    """Fails where a program would refuse its words; runs nothing."""
    program, *rest = words
    if program == "ray":
        understand_ray(ray_cli, program, rest)
    elif program == "raytl":
        make_parser().parse_args(rest)
    elif words[:2] == ["python", "experiments/search_all.py"]:
        from search_all import arguments

        make_parser().parse_args(arguments(rest[1:]))
    elif program == "export":
        assert re.fullmatch(r"RAY_\w+=\w+", " ".join(rest))
    else:
        assert program == "kubectl" and (ROOT / "experiments/cluster/kuberay.yaml").is_file()


def understand_ray(command: click.Command, name: str, words: list[str], parent: click.Context | None = None) -> None:
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=name, parent=parent)
        found, inner, rest = command.resolve_command(context, words)
        assert found is not None and inner is not None
        understand_ray(inner, found, rest, context)
        return
    context = command.make_context(name, list(words), parent=parent)
    if name == "submit" and "entrypoint" in context.params:
        understand(list(context.params["entrypoint"]))
    if file := context.params.get("cluster_config_file"):
        assert (ROOT / file).is_file(), file


def test_every_command_is_understood() -> None:
    found = commands()
    assert {words[0] for words in found} == {"ray", "raytl", "export", "kubectl"} and len(found) >= 14
    for words in found:
        understand(words)


@pytest.mark.parametrize(
    "line",
    [
        "ray up --no-such-option cluster.yaml",
        "ray no-such-command",
        "ray job submit --address x -- python experiments/search_all.py --no-such-option",
        "raytl search x --no-such-option",
        "ray up no_such_file.yaml",
    ],
)
def test_a_command_that_is_refused_is_found(line: str) -> None:
    with pytest.raises((click.ClickException, SystemExit, AssertionError)):
        understand(shlex.split(line))


def test_every_file_that_it_names_is_there() -> None:
    named = re.findall(r"`([\w./]+\.(?:yaml|md)|[\w./]+/Dockerfile)`", PAGE.read_text())
    assert len(named) >= 4 and [name for name in named if not (ROOT / name).is_file()] == []
