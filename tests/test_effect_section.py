"""The report's part about a design: there where the study has one, with what is missing where it has not ended."""

from __future__ import annotations

from pathlib import Path

from raytl.design import cells_of
from raytl.results.designed import design_of
from raytl.results.report import OF_SEARCHES, report_page
from raytl.results.tables import load_tables
from tests.test_designed import DESIGN, figures, study


def test_the_report_has_a_table_of_effects_where_there_is_a_design(tmp_path: Path) -> None:
    folder = study(tmp_path / "s", figures())
    values, tables = folder.read_study(), load_tables(folder)
    assert 'id="effects"' not in report_page(folder.root, values, tables)
    spec = values["spec"]
    assert isinstance(spec, dict) and design_of(values) == {}
    planned = {**values, "spec": {**spec, "design": DESIGN}}
    assert design_of(planned) == DESIGN and len(cells_of(design_of(planned))) == 4
    page = report_page(folder.root, planned, tables)
    assert "2 backbones, " in page
    of_search = [f'id="{anchor}"' in page or f'href="#{anchor}"' in page for anchor in OF_SEARCHES]
    assert not any(of_search), "there was none"
    assert 'id="effects"' in page and "depth x loss" in page and "larger than the spread between seeds" in page
    broken = study(tmp_path / "t", figures("head + soft"))
    assert "No effects can be told: head + soft: never ran." in report_page(broken.root, planned, load_tables(broken))
