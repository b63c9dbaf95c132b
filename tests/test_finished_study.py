"""A finished study opened again; its refusals are tested with the commands that open it, ensemble and distill."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from raytl.data.store import pixel_bytes, store_bytes
from raytl.finished_study import pictures_of
from raytl.study import Study
from tests.plans import make_album

SIDE = 20


def test_pictures_are_stored_only_where_the_study_may_store_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    album, cache = make_album(tmp_path / "pictures"), tmp_path / "cache"
    monkeypatch.setenv("RAYTL_CACHE", str(cache))
    over_files = pictures_of(album, Study(name="s", data="d", backbones=("plain_cnn",), store_gb=0.0))(SIDE)
    assert pixel_bytes(cache) == 0
    stored = pictures_of(album, Study(name="s", data="d", backbones=("plain_cnn",)))(SIDE)
    assert pixel_bytes(cache) == store_bytes(album, SIDE) > 0
    for part in ("train", "val", "test"):
        first, second = getattr(over_files, part), getattr(stored, part)
        assert len(first) == len(second) > 0
        for place in range(len(first)):
            np.testing.assert_array_equal(first.picture(place), second.picture(place))
