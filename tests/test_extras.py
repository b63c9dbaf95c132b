"""What is said where a package is missing names an extra that there is."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from raytl.extras import install_hint

ROOT = Path(__file__).parents[1]


def test_every_extra_that_a_hint_names_is_one_of_the_project() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {
        name
        for path in (ROOT / "raytl").rglob("*.py")
        for name in re.findall(r"install_hint\(['\"](\w+)['\"]\)", path.read_text())
    }
    assert named and named <= set(extras)
    assert install_hint("serve") == "type pip install '.[serve]' in the folder of raytl's source"
