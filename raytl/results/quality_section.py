"""The part of the report about the pictures as pictures: size, light and sharpness, and which of them stand out."""

from __future__ import annotations

from collections.abc import Sequence

from raytl.results.page import Html, note, section, table, tag, text_table
from raytl.results.quality import Quality
from raytl.results.wording import count

LISTED = 10  # chosen: rows of a list; the tables have all
ABOUT = (
    "Brightness and contrast are mean and standard deviation of the grey picture, black being 0 and white 1; sharpness "
    "is the variance of its Laplacian at 256 pixels or less. A picture stands out where it lies more than 3.5 standard "
    "deviations from the median, both measured so that few outliers do not move them. It may well be a good picture: "
    "look."
)
STANDING_OUT = {
    "shorter side": ("Very small pictures", "Very large pictures"),
    "brightness": ("Very dark pictures", "Very bright pictures"),
    "contrast": ("Pictures with very little contrast", "Pictures with very much contrast"),
    "sharpness": ("Blurred pictures", "Very sharp, or noisy, pictures"),
}


def quality_section(found: Sequence[Quality]) -> Html:
    """A row for each measure, then the pictures that stand out."""
    if not found:
        return section("quality", "Picture quality", [note("Nothing is recorded of size, light and sharpness.")])
    rows = [
        (
            each.measure,
            *(_text(each.measure, value) for value in (each.least, each.median, each.most)),
            count(len(each.low)),
            count(len(each.high)),
        )
        for each in found
    ]
    header = ("measure", "least", "median", "most", "far below", "far above")
    return section(
        "quality",
        "Picture quality",
        [note(ABOUT), table(header, rows), *(part for each in found for part in _lists(each))],
    )


def _lists(found: Quality) -> list[Html]:
    parts: list[Html] = []
    for title, outliers in zip(STANDING_OUT[found.measure], (found.low, found.high), strict=True):
        if outliers:
            rows = [(one.path, one.label, _text(found.measure, one.value)) for one in outliers]
            parts += [tag("h3", title), text_table(("picture", "class", found.measure), rows, LISTED)]
    return parts


def _text(measure: str, value: float) -> str:
    return f"{value:,.0f} pixels" if measure == "shorter side" else f"{value:.3g}"
