"""The page on which a person tries a served model: one file, which may fetch nothing but answers of its own server."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from dataclasses import dataclass
from html import escape
from pathlib import Path

from raytl.results.stylesheet import STYLE
from raytl.use.bounds import MEGABYTE, Bounds
from raytl.use.sight import ServedModel

FILE = Path(__file__).with_name("front_page.html")


@dataclass(frozen=True)
class FrontPage:
    """A page and its content policy, which lets exactly its own script and style run."""

    text: str
    policy: str


def front_page(served: ServedModel, bounds: Bounds) -> FrontPage:
    """The page of one model. What it is told of the model is text and attributes, never script."""
    told = {
        "{{style}}": STYLE,
        "{{model}}": escape(served.name),
        "{{count}}": str(len(served.classes)),
        "{{classes}}": escape(", ".join(served.classes)),
        "{{version}}": escape(served.version),
        "{{most_bytes}}": str(bounds.most_bytes),
        "{{most_megabytes}}": f"{bounds.most_bytes / MEGABYTE:g}",
    }
    text = FILE.read_text("utf-8")
    parts = text.split("{{")
    filled = parts[0] + "".join(_filled(part, told) for part in parts[1:])
    allowed = (
        "default-src 'none'",
        f"script-src {_hash(filled, 'script')}",
        f"style-src {_hash(filled, 'style')}",
        "img-src blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
    return FrontPage(filled, "; ".join(allowed))


def _filled(part: str, told: dict[str, str]) -> str:
    """What follows `{{`: each mark is replaced once, so that a value may hold anything."""
    name, rest = part.split("}}", 1)
    return told[f"{{{{{name}}}}}"] + rest


def _hash(page: str, element: str) -> str:
    """The SHA-256 of the one inline script or style, as a content policy names it."""
    content = page.split(f"<{element}>", 1)[1].split(f"</{element}>", 1)[0]
    return f"'sha256-{b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
