"""The names of all backbones that can be asked for, known without importing torch."""

from __future__ import annotations

from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import files

from raytl.errors import ConfigError


@lru_cache(maxsize=1)
def backbone_sources() -> dict[str, str]:
    """Every backbone's name and where it comes from: `timm`, `torchvision`, `carried` or `raytl`."""
    text = files("raytl").joinpath("backbone_names.txt").read_text("utf-8")
    lines = (line.partition(" ") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: source for name, _, source in lines}


def backbone_names() -> tuple[str, ...]:
    """Every backbone's name, sorted."""
    return tuple(sorted(backbone_sources()))


def source_of(name: str) -> str:
    """Where the backbone `name` comes from; timm's `name.tag` means the weights with that tag.

    Raises:
        ConfigError: where no backbone has this name; the nearest names are offered.
    """
    check_backbone(name)
    return backbone_sources()[name if name in backbone_sources() else name.partition(".")[0]]


def check_backbone(name: str) -> None:
    """Raises ConfigError, with the nearest names, where no backbone is called `name`."""
    sources = backbone_sources()
    stem, dot, _ = name.partition(".")
    if name in sources or (dot and sources.get(stem) == "timm"):
        return
    near = get_close_matches(stem, list(sources), n=3)
    offer = f"did you mean {' or '.join(map(repr, near))}?" if near else "raytl.catalog.backbone_names() lists all"
    raise ConfigError(f"backbone {name!r} does not exist; {offer}")
