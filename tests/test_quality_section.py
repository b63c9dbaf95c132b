"""The report's part about the pictures as pictures."""

from __future__ import annotations

from raytl.results.quality import picture_quality
from raytl.results.quality_section import quality_section
from raytl.results.schemas import to_table
from tests.test_quality import row


def test_the_section_names_what_stands_out_and_says_where_nothing_is_known() -> None:
    rows = [row(place, brightness=0.5 + place / 1000, contrast=0.2, sharpness=0.1) for place in range(40)]
    rows.append(row(77, brightness=0.001, contrast=0.2, sharpness=0.1))
    page = quality_section(picture_quality(to_table("data", rows, 1)))
    assert "Very dark pictures" in page and "077.jpg" in page and "Blurred" not in page
    assert "Nothing is recorded" in quality_section(picture_quality(to_table("data", [], 1)))
