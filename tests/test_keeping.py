"""Stored where there is room, decoded as they are read elsewhere; and a run that cannot tell the difference."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import raytl.train.keeping as module
import raytl.train.learner as learner_module
from raytl.data.album import Album
from raytl.data.pixels import FilePixels, StoredPixels
from raytl.data.store import FitData, build_store, open_data, open_files, store_bytes, store_path
from raytl.errors import StorageError
from raytl.recipe import Recipe
from raytl.train.cache import PrefixCache
from raytl.train.final import read_test_set
from raytl.train.guards import Diverged
from raytl.train.inputs import AHEAD
from raytl.train.keeping import STORE_SHARE, Keeping, Room, foresee, keep
from raytl.train.loop import Run, fit
from raytl.train.probing import fit_heads
from raytl.train.world import World
from tests.plans import make_album
from tests.tiny import ACCURACY, figures, tiny_recipe

RESNET = tiny_recipe(backbone="tiny_resnet", weights="pretrained", image_size=32, eval_resize=36, lr=1e-3)
RECIPES: Mapping[str, Recipe] = {
    "as evaluated": replace(RESNET, augment="none"),
    "augmented": replace(RESNET, augment="crop+flip+jitter:0.2", seed=3),
    "drawn with replacement": replace(RESNET, sampler="balanced", batch_size=5, augment="crop"),
    "stored views": replace(RESNET, freeze_depth=2, views=2, augment="crop", epochs=3),
    "a head": replace(RESNET, freeze_depth=5, augment="none", epochs=3),
    "thawed": replace(RESNET, freeze_depth=3, unfreeze_epoch=2, augment="none"),
}
FREE = 1_000_000


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Album:
    return make_album(tmp_path_factory.mktemp("pictures"), pictures=18)


@pytest.fixture(scope="module")
def stored(album: Album, tmp_path_factory: pytest.TempPathFactory) -> FitData:
    return open_data(album, build_store(album, 36, tmp_path_factory.mktemp("cache")))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A disk with as much room as a test says."""
    found = SimpleNamespace(free=FREE)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: found)
    return found


def decoding() -> int:
    return sum(thread.name.startswith("decoding") for thread in threading.enumerate())


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("cached", [False, True])
def test_a_run_is_the_same_over_a_store_and_over_files(
    name: str, cached: bool, album: Album, stored: FitData, tmp_path: Path
) -> None:
    def rows(data: FitData, folder: str) -> list[dict[str, Any]]:
        cache = PrefixCache(tmp_path / folder, 10**9, sharers=50) if cached else None
        return figures(fit(RECIPES[name], data, World(), cache=cache))

    assert rows(open_files(album, 36), "files") == rows(stored, "stored")
    assert decoding() == 0


def test_heads_together_and_the_test_set_are_the_same(album: Album, stored: FitData) -> None:
    def found(data: FitData) -> tuple[list[dict[str, Any]], Any]:
        recipes = {"one": RECIPES["a head"], "two": replace(RECIPES["a head"], lr=0.1)}
        events = [event for epoch in fit_heads(recipes, data, World(), ACCURACY, None) for event in epoch]
        run = Run(RECIPES["as evaluated"], data, World(), metric=ACCURACY, trial_id="t")
        list(run.epochs())
        return figures(event.row for event in events if event.row), read_test_set(run).probabilities.tolist()

    assert found(open_files(album, 36)) == found(stored)
    assert decoding() == 0


def test_no_more_than_a_few_batches_are_held(album: Album, monkeypatch: pytest.MonkeyPatch) -> None:
    data, most = open_files(album, 36), 0
    read = FilePixels.picture

    def noted(pixels: FilePixels, index: int) -> np.ndarray:
        nonlocal most
        most = max(most, len(pixels._coming))
        return read(pixels, index)

    monkeypatch.setattr(FilePixels, "picture", noted)
    recipe = replace(RECIPES["augmented"], batch_size=4)
    list(fit(recipe, data, World()))
    assert len(data.val) < most == 4 * (1 + AHEAD) < len(data.train)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_no_thread_is_left_where_a_run_is_cut_short(
    error: type[BaseException], album: Album, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = list[int]()

    def broken(*_: object) -> None:
        threads.append(decoding())
        raise error

    monkeypatch.setattr(learner_module, "mix", broken)
    with pytest.raises(error) as caught:
        list(fit(RECIPES["augmented"], open_files(album, 36), World()))
    assert caught.traceback and threads[0] > 0, "they were there when it happened"
    assert decoding() == 0


def test_no_thread_is_left_of_a_run_that_diverges(album: Album) -> None:
    with pytest.raises(Diverged):
        list(fit(tiny_recipe(lr=100.0, eval_resize=36, epochs=20), open_files(album, 36), World()))
    assert decoding() == 0


@pytest.mark.parametrize(
    ("free", "kept", "limit", "need", "fits"),
    [
        (100, 0, None, 80, True),
        (100, 0, None, 81, False),
        (100, 0, 80, 80, True),
        (100, 1, 80, 80, False),
        (100, 0, 0, 1, False),
        (10, 0, 1000, 9, False),
    ],
)
def test_there_is_room_for_what_leaves_a_part_of_the_disk_and_keeps_the_limit(
    free: int, kept: int, limit: int | None, need: int, fits: bool
) -> None:
    assert Room(free, kept, limit).fits(need) is fits


def test_what_is_foreseen_is_done_smallest_first(album: Album, tmp_path: Path, disk: SimpleNamespace) -> None:
    sizes = (20, 24, 28)
    needs = [store_bytes(album, size) for size in sizes]
    disk.free = int(needs[0] + needs[1] / STORE_SHARE) + 1  # for two of them
    foreseen = foresee(album, reversed(sizes), tmp_path, None)
    assert [each.resize for each in foreseen] == [*sizes]
    assert [each.stored for each in foreseen] == [True, True, False]
    assert [each.missing_bytes for each in foreseen] == [needs[0], needs[1], 0]
    for each in foreseen:
        data = keep(album, each.resize, tmp_path)
        assert isinstance(data.train.pixels, StoredPixels if each.stored else FilePixels)
        disk.free -= each.missing_bytes
    again = foresee(album, sizes, tmp_path, None)
    assert [(each.there, each.stored, each.missing_bytes) for each in again] == [(True, True, 0)] * 2 + [
        (False, False, 0)
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        store_path(album, size, tmp_path).name for size in sizes[:2]
    )


def test_a_limit_counts_all_stores_of_the_folder_and_what_is_there_is_used(album: Album, tmp_path: Path) -> None:
    need = store_bytes(album, 20)
    assert isinstance(keep(album, 20, tmp_path, need - 1).val.pixels, FilePixels)
    assert isinstance(keep(album, 20, tmp_path, need).val.pixels, StoredPixels)
    assert isinstance(keep(album, 20, tmp_path, 0).val.pixels, StoredPixels)
    assert isinstance(keep(album, 16, tmp_path, need).val.pixels, FilePixels)
    assert isinstance(keep(album, 16, tmp_path, need + store_bytes(album, 16)).val.pixels, StoredPixels)


def test_of_several_that_want_a_store_one_makes_it(
    album: Album, tmp_path: Path, disk: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.free = int(1.3 * store_bytes(album, 20))  # not enough for a second one, nor for what looks like one
    built = list[int]()

    def build(album: Album, resize: int, folder: Path) -> Path:
        built.append(resize)
        store = build_store(album, resize, folder)
        disk.free -= store_bytes(album, resize)
        return store

    monkeypatch.setattr(module, "build_store", build)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: keep(album, 20, tmp_path), range(4)))
    assert built == [20] and all(isinstance(data.train.pixels, StoredPixels) for data in made)


def test_a_folder_that_cannot_be_made_is_said(album: Album, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        keep(album, 20, tmp_path / "file" / "cache")


def test_a_sentence_says_what_was_chosen_and_why() -> None:
    sizes = Keeping(256, 210_000_000_000, there=False, room=Room(40_000_000_000, 0))
    assert not sizes.stored
    assert sizes.sentence(4) == (
        "pictures of 256 pixels: 210.0 GB would be needed, 40.0 GB free (80% may be used): decoded as they are read, "
        "4 threads per worker"
    )
    bound = replace(sizes, room=Room(400_000_000_000, 3_000_000_000, 5_000_000_000))
    assert "needed, 400.0 GB free, 3.0 GB of at most 5.0 GB taken: decoded" in bound.sentence(1)
    assert bound.sentence(1).endswith("1 thread per worker")


def test_torch_counts_the_threads_that_decode(album: Album) -> None:
    before = torch.get_num_threads()
    pixels = open_files(album, 36).train.pixels
    try:
        torch.set_num_threads(2)
        pixels.expect(range(len(album.part("train"))))
        assert 0 < decoding() <= 2
    finally:
        pixels.forget()
        torch.set_num_threads(before)
