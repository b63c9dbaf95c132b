"""What is published of a final model is of its own split of the pictures."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from raytl.data.album import Album
from raytl.data.store import PictureSet
from raytl.on_ray import publication
from raytl.results.folder import StudyFolder
from raytl.results.schemas import PredictionRow
from raytl.use.finals import Drawn
from tests.plans import BASE, make_album, make_plan, make_recorder
from tests.rows import confirmed_row, epoch_row, prediction_row, trial_row


@pytest.mark.parametrize("split", [0, 1, 2])
def test_card_and_pictures_are_of_the_split_of_the_chosen_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: int
) -> None:
    album = make_album(tmp_path / "pictures")
    plan = make_plan((album, album.resplit(1)), tmp_path / "cache", backbones=("plain_cnn",))
    cards: list[Album] = []
    tests: list[tuple[str, ...]] = []

    def heat(_path: Path, _rows: Sequence[PredictionRow], pictures: PictureSet) -> bytes:
        tests.append(tuple(pictures.paths))
        return b""

    monkeypatch.setattr(publication, "study_card", lambda _source, album, *_: cards.append(album))
    monkeypatch.setattr(publication, "save_final", lambda *_: None)
    monkeypatch.setattr(publication, "save_heat", heat)
    monkeypatch.setattr(publication, "draw_final", lambda *_: Drawn({}, ()))
    folder = StudyFolder(tmp_path / "study")
    with closing(make_recorder(folder.root)) as recorder:
        recorder.start(trial_row(trial_id="f", stage="confirm", backbone="plain_cnn", split=split, recipe=BASE))
        recorder.epoch(epoch_row(trial_id="f"))
        recorder.confirmed(
            confirmed_row(trial_id="f", backbone="plain_cnn", split=split), [prediction_row(trial_id="f")]
        )
        (folder.checkpoints / "f").mkdir(parents=True)
        publication.publish(plan, recorder, folder)
    expected = plan.albums[split] if split < 2 else album
    assert cards == [expected]
    assert tests == [tuple(row.path for row in expected.part("test"))]
