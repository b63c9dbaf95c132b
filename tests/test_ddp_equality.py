"""Two workers take the steps and measure the figures that one worker would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from raytl.data.album import Album
from raytl.data.store import FitData, build_store, open_data, open_files
from tests.group import Task, evaluated, run_group
from tests.plans import make_album
from tests.tiny import fitted, start, tiny_data, tiny_recipe

pytestmark = pytest.mark.slow

WEIGHTED = {"class_weights": "balanced", "label_smoothing": 0.1, "augment": "medium", "epochs": 3}
# 22 training pictures; no batch-norm in training, no dropout and no mixing: these belong to a worker's share.
RECIPES = {
    "even": tiny_recipe(**WEIGHTED, batch_size=8),
    "odd": tiny_recipe(**WEIGHTED, batch_size=5),
    "last batch of one picture": tiny_recipe(**WEIGHTED, batch_size=7),
    "batches of one picture": tiny_recipe(**WEIGHTED, batch_size=1, lr=0.01),
    "one batch": tiny_recipe(**WEIGHTED, batch_size=64),
    "frozen": tiny_recipe(**WEIGHTED, backbone="tiny_resnet", freeze_depth=5, head="mlp:16", ema_decay=0.9),
    "thawed": tiny_recipe(**WEIGHTED, freeze_depth=3, unfreeze_epoch=2, clip_norm=0.5, views=2),
    "head first": tiny_recipe(**WEIGHTED, freeze_depth=2, head_epochs=2, head_lr_scale=2.0, ema_decay=0.9, views=2),
    "transformer": tiny_recipe(**WEIGHTED, backbone="tiny_vit", optimizer="adamw", lr=1e-4),
    "focal": tiny_recipe(epochs=3, loss="focal", class_weights="effective", sampler="balanced", batch_size=5),
    "plateau": tiny_recipe(epochs=4, schedule="plateau:0.5,0,1e-6", early_stop="rises:1", lr=0.1, batch_size=5),
}
ALL_RANKS = (0, 1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> FitData:
    return tiny_data(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Album:
    return make_album(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def ranks(data: FitData, album: Album, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of the two workers found."""
    folder = tmp_path_factory.mktemp("group")
    batch_norm = tiny_recipe(backbone="tiny_resnet", epochs=2, ema_decay=0.5)
    read = open_files(album, tiny_recipe().eval_resize)
    return run_group(Task(data, RECIPES, "thawed", batch_norm, folder / "checkpoints", read), folder)


def numbers(rows: list[dict[str, Any]]) -> list[float]:
    """All figures that may differ by rounding, in one list."""
    return [row[name] for row in rows for name in ("train_loss", "val_loss", "lr")]


@pytest.mark.parametrize("rank", ALL_RANKS)
def test_pictures_that_are_decoded_as_they_are_read_are_shared_out_alike(
    rank: int, ranks: list[dict[str, Any]], album: Album, tmp_path: Path
) -> None:
    stored = open_data(album, build_store(album, tiny_recipe().eval_resize, tmp_path))
    expected, found = fitted(tiny_recipe(batch_size=5, augment="crop"), stored), ranks[rank]["read"]
    assert numbers(found) == pytest.approx(numbers(expected), abs=1e-4)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("rank", ALL_RANKS)
def test_the_loss_curve_is_that_of_one_worker(name: str, rank: int, ranks: list[dict[str, Any]], data: FitData) -> None:
    expected, found = fitted(RECIPES[name], data), ranks[rank]["rows"][name]
    assert len(found) == len(expected) > 1
    assert numbers(found) == pytest.approx(numbers(expected), abs=1e-4)
    for row, reference in zip(found, expected, strict=True):
        assert row["val_accuracy"] == reference["val_accuracy"]
        assert row["train_accuracy"] == pytest.approx(reference["train_accuracy"])
    losses = [row["train_loss"] for row in expected]
    assert max(losses) - min(losses) > 1e-3, "a curve that does not move compares nothing"


def test_all_workers_have_the_same_rows(ranks: list[dict[str, Any]]) -> None:
    assert ranks[0]["rows"] == ranks[1]["rows"]


@pytest.mark.parametrize("rank", ALL_RANKS)
@pytest.mark.parametrize("size", [1, 2, 3, 12, 13])
def test_every_picture_is_measured_once(size: int, rank: int, ranks: list[dict[str, Any]], data: FitData) -> None:
    confusion, macro_f1, loss, logits = ranks[rank]["evaluations"][size]
    reference = evaluated(start(tiny_recipe(), data), size)
    assert torch.equal(confusion, reference[0]) and confusion.sum() == size
    assert macro_f1 == reference[1]
    assert loss == pytest.approx(reference[2], abs=1e-6)
    torch.testing.assert_close(logits, reference[3], rtol=0, atol=1e-6)


@pytest.mark.parametrize("rank", ALL_RANKS)
def test_gathered_rows_are_in_order_of_rank(rank: int, ranks: list[dict[str, Any]]) -> None:
    uneven, other, lacking = ranks[rank]["gathers"]
    assert uneven.tolist() == [[0, 1], [2, 3], [4, 5], [10, 11], [12, 13]]
    assert other.tolist() == [[0, 1], [10, 11], [12, 13]]
    assert lacking.tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize("rank", ALL_RANKS)
def test_figures_are_those_of_the_model_that_is_kept(rank: int, ranks: list[dict[str, Any]]) -> None:
    """Batch-norm's statistics are each worker's own while it trains; the measured model must be one."""
    found = ranks[rank]["batch_norm"]
    row = found["row"]
    assert (row["val_accuracy"], row["val_macro_f1"]) == found["alone"][:2]
    assert row["val_loss"] == pytest.approx(found["alone"][2], abs=1e-6)
    assert found["test"][1] == pytest.approx(found["test_alone"], abs=1e-6)
    assert found["test"][2].tolist() == ranks[0]["batch_norm"]["test"][2].tolist()


@pytest.mark.parametrize("rank", ALL_RANKS)
def test_a_group_continues_from_the_checkpoint_of_its_first_worker(rank: int, ranks: list[dict[str, Any]]) -> None:
    assert ranks[rank]["continued"] == ranks[rank]["rows"]["thawed"]


@pytest.mark.parametrize("rank", ALL_RANKS)
def test_a_run_in_a_fresh_process_is_the_same(rank: int, ranks: list[dict[str, Any]], data: FitData) -> None:
    """This process has made many runs; the worker's had made none."""
    assert ranks[rank]["alone"] == fitted(tiny_recipe(dropout=0.2), data)
