"""A self-contained HTML page: elements whose text is always escaped.

The page forbids itself by its content policy to fetch or run anything.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from raytl.results.stylesheet import STYLE


class Html(str):
    """Markup, as against text that is still to be escaped."""

    __slots__ = ()


Content = str | Iterable[str]

NO_ATTRIBUTES: Mapping[str, str] = {}
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"  # pictures that lie in the page itself


def tag(name: str, content: Content = "", attributes: Mapping[str, str] = NO_ATTRIBUTES) -> Html:
    """One element; text in it is escaped, markup is not."""
    told = "".join(f' {key}="{escape(value)}"' for key, value in attributes.items())
    return Html(f"<{name}{told}>{join(content)}</{name}>")


def join(content: Content) -> Html:
    """Text and markup one after the other."""
    parts = [content] if isinstance(content, str) else content
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in parts))


def classed(name: str, css_class: str, content: Content = "") -> Html:
    """An element of a CSS class."""
    return tag(name, content, {"class": css_class})


def section(anchor: str, title: str, content: Iterable[str]) -> Html:
    """A part of the page with its heading."""
    return tag("section", [tag("h2", title), *content], {"id": anchor})


def note(text: Content) -> Html:
    """A paragraph that explains."""
    return classed("p", "note", text)


def table(
    header: Sequence[str], rows: Iterable[Sequence[str]], texts: Sequence[int] = (0,), first: bool = False
) -> Html:
    """A table of figures, but for the columns `texts`; `first` marks the first row. Markup must be a whole cell."""
    kinds = ["" if index in texts else "n" for index in range(len(header))]
    head = tag("tr", [classed("th", kind, cell) for kind, cell in zip(kinds, header, strict=True)])
    body = [
        classed("tr", "first" if first and index == 0 else "", map(_cell, kinds, row)) for index, row in enumerate(rows)
    ]
    whole = tag("table", [tag("thead", [head]), tag("tbody", body)], {"class": "figures"})
    return classed("div", "scroll", [whole])


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]], limit: int) -> Html:
    """A table of text that may be long; past `limit` rows it says how many are left out."""
    head = tag("tr", [tag("th", cell) for cell in header])
    body = [tag("tr", [classed("td", "path", cell) for cell in row]) for row in rows[:limit]]
    whole = classed("div", "scroll", [tag("table", [tag("thead", [head]), tag("tbody", body)])])
    left = len(rows) - limit
    return join([whole, note(f"{left:,} more are in the tables.")]) if left > 0 else whole


def photograph(jpeg: bytes, described: str) -> Html:
    """A picture within the page, and in words for who cannot see it."""
    source = f"data:image/jpeg;base64,{b64encode(jpeg).decode()}"
    return Html(f'<img src="{source}" alt="{escape(described)}">')


def document(title: str, subtitle: str, sections: Sequence[Html], contents: Sequence[tuple[str, str]]) -> str:
    """The whole page; `contents` are (anchor, title) of the sections."""
    links = [tag("a", name, {"href": f"#{anchor}"}) for anchor, name in contents]
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">'
        f"{tag('title', title)}<style>{STYLE}</style>"
    )
    body = tag("main", [tag("h1", title), note(subtitle), tag("nav", links), *sections])
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def _cell(kind: str, cell: str) -> Html:
    return cell if isinstance(cell, Html) else classed("td", kind, cell)
