"""Final models: chosen on validation alone, rebuilt as they were, and their results drawn."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from raytl.data.store import FitData
from raytl.errors import ConfigError, StorageError
from raytl.limits import Limits
from raytl.metric import METRICS
from raytl.results.figures import heat_png
from raytl.results.folder import HEAT_FILE
from raytl.results.schemas import PredictionRow
from raytl.train.checkpoint import save_snapshot
from raytl.use import finals as finals_module
from raytl.use.cam import heat_maps
from raytl.use.card import ModelCard
from raytl.use.export import LoadedModel, load_model
from raytl.use.finals import (
    EXPLAINED,
    WORST,
    Final,
    choose_final,
    choose_published,
    confusion_picture,
    explained,
    heat_picture,
    mistakes_picture,
    prune,
    rebuild,
    save_final,
    save_heat,
)
from tests.rows import confirmed_row, prediction_row
from tests.tiny import start, tiny_data, tiny_recipe

ACCURACY, LOSS = METRICS["val_accuracy"], METRICS["val_loss"]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> FitData:
    return tiny_data(tmp_path_factory.mktemp("tiny"))


def final(role: str, seed: int, accuracy: float, loss: float, test: float = 0.5, split: int = 0) -> Final:
    row = confirmed_row(
        role=role, seed=seed, split=split, val_accuracy=accuracy, val_loss=loss, test_accuracy=test,
        trial_id=f"{role}{seed}{split}",
    )  # fmt: skip
    return Final(row, tiny_recipe(seed=seed, lr={"best": 0.1, "probe": 0.2}[role]), Path("nowhere"))


def test_the_better_recipe_on_average_and_its_best_seed_are_chosen() -> None:
    finals = [
        final("best", 0, 0.80, 0.5),
        final("best", 1, 0.90, 0.5),
        final("probe", 0, 0.95, 0.5),  # the best single run, of the worse recipe
        final("probe", 1, 0.60, 0.5),
    ]
    assert choose_final(finals, ACCURACY) is finals[1]


def test_ties_go_to_the_lower_loss() -> None:
    finals = [
        final("best", 0, 0.9, 0.4), final("best", 1, 0.9, 0.6),
        final("probe", 0, 0.9, 0.3), final("probe", 1, 0.9, 0.2),
    ]  # fmt: skip
    assert choose_final(finals, ACCURACY) is finals[3]
    assert choose_final(finals, LOSS) is finals[3]


def test_the_metric_decides() -> None:
    finals = [final("best", 0, 0.9, 0.5), final("probe", 0, 0.8, 0.3)]
    assert choose_final(finals, ACCURACY) is finals[0]
    assert choose_final(finals, LOSS) is finals[1]


def test_only_the_first_split_that_there_is_counts() -> None:
    finals = [final("best", 0, 0.7, 0.5), final("best", 0, 0.9, 0.5, split=1)]
    assert choose_final(finals, ACCURACY) is finals[0]
    assert choose_final(finals[1:], ACCURACY) is finals[1]


def test_a_recipe_over_the_limits_is_passed_over_while_one_is_within() -> None:
    """The head is faster: by its mean over seeds, as in the leaderboard, not by a seed's own figure."""

    def timed(each: Final, speed: float) -> Final:
        return replace(each, row=replace(each.row, predict_images_per_second=speed), parameters=250_000)

    finals = [
        timed(final("best", 0, 0.9, 0.5), 30.0), timed(final("best", 1, 0.9, 0.4), 60.0),
        timed(final("probe", 0, 0.7, 0.5), 45.0), timed(final("probe", 1, 0.8, 0.5), 60.0),
    ]  # fmt: skip
    assert choose_final(finals, ACCURACY) is finals[1]
    assert choose_final(finals, ACCURACY, Limits(latency_ms=20.0)) is finals[3]
    assert choose_final(finals, ACCURACY, Limits(latency_ms=1.0)) is finals[1], "none is within"
    assert choose_final(finals, ACCURACY, Limits(size_mb=1.0)) is finals[1]


FRACTIONS = st.floats(0, 1)


@given(
    st.lists(st.tuples(st.sampled_from(["best", "probe"]), FRACTIONS, FRACTIONS), min_size=1, max_size=8),
    st.lists(FRACTIONS, min_size=8, max_size=8),
    st.sampled_from(sorted(METRICS)),
)
def test_test_figures_have_no_say(runs: list[tuple[str, float, float]], tests: list[float], name: str) -> None:
    shown = [final(role, seed, accuracy, loss) for seed, (role, accuracy, loss) in enumerate(runs)]
    other = [
        replace(each, row=replace(each.row, test_accuracy=value, test_macro_f1=value, test_loss=value, correct=0))
        for each, value in zip(shown, tests, strict=False)
    ]
    chosen = choose_final(shown, METRICS[name])
    assert choose_final(other, METRICS[name]).row.trial_id == chosen.row.trial_id
    means = {
        role: np.mean([METRICS[name].key(each.row)[0] for each in shown if each.row.role == role])
        for role in {role for role, _, _ in runs}
    }
    assert means[chosen.row.role] == min(means.values())


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"freeze_depth": 2, "seed": 5},  # random weights that stay frozen are in no checkpoint
        {"freeze_depth": 2, "unfreeze_epoch": 2},
        {"ema_decay": 0.9},
        {"backbone": "tiny_resnet", "weights": "pretrained", "freeze_depth": 3, "normalize": "half"},
        {"loss": "bce", "head": "mlp:8", "dropout": 0.5},
    ],
    ids=["all", "frozen random", "unfrozen", "averaged", "frozen carried", "mlp"],
)
def test_a_rebuilt_model_gives_the_logits_of_its_best_epoch(
    values: dict[str, object], data: FitData, tmp_path: Path
) -> None:
    recipe = tiny_recipe(epochs=3, **values)
    run = start(recipe, data)
    list(run.epochs())
    save_snapshot(tmp_path / "t", run.snapshot())
    expected = run.evaluator.logits(run.load_best(), data.test)
    torch.manual_seed(99)
    before = torch.get_rng_state()
    model = rebuild(Final(confirmed_row(), recipe, tmp_path / "t"), len(data.classes))
    assert torch.equal(torch.get_rng_state(), before)
    assert not model.training
    theirs = run.model.state_dict()
    assert model.state_dict().keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in model.state_dict().items())
    # Two layouts in memory, two orders of summing.
    torch.testing.assert_close(run.evaluator.logits(model, data.test), expected, rtol=0, atol=1e-5)


def test_a_saved_final_model_gives_the_same_logits(data: FitData, tmp_path: Path) -> None:
    recipe = tiny_recipe(freeze_depth=1)
    run = start(recipe, data)
    list(run.epochs())
    save_snapshot(tmp_path / "t", run.snapshot())
    chosen = Final(confirmed_row(), recipe, tmp_path / "t")
    save_final(chosen, data.classes, tmp_path / "model", ModelCard("squares"))
    loaded = load_model(tmp_path / "model")
    expected = run.evaluator.logits(run.load_best(), data.test)
    torch.testing.assert_close(run.evaluator.logits(loaded.model, data.test), expected, rtol=0, atol=1e-6)
    assert loaded.classes == data.classes
    prune(chosen)
    assert not (tmp_path / "t").exists()
    prune(chosen)


def test_a_checkpoint_that_is_gone_or_anothers_is_refused(data: FitData, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="checkpoint is gone"):
        rebuild(Final(confirmed_row(), tiny_recipe(), tmp_path / "nowhere"), 3)
    run = start(tiny_recipe(), data)
    list(run.epochs())
    save_snapshot(tmp_path / "t", run.snapshot())
    with pytest.raises(StorageError, match=r"not this recipe's checkpoint \(head\.hidden0"):
        rebuild(Final(confirmed_row(), tiny_recipe(head="mlp:4"), tmp_path / "t"), 3)


def opened(png: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(png))
    picture.load()
    assert picture.format == "PNG"
    return picture


def predictions(data: FitData, sure: list[float]) -> list[PredictionRow]:
    """The first test pictures, all taken for another class, as sure as given."""
    rows = []
    for path, share in zip(data.test.paths, sure, strict=False):
        rest = (1 - share) / 2
        rows.append(prediction_row(path=path, label="a", predicted="b", probabilities=[rest, share, rest]))
    return rows


def test_the_worst_mistakes_come_first(data: FitData, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[np.ndarray, str]] = []

    def drawn(pictures: list[tuple[np.ndarray, str]]) -> bytes:
        shown.extend(pictures)
        return b""

    monkeypatch.setattr(finals_module, "mistakes_png", drawn)
    rows = predictions(data, [0.5, 0.9, 0.6, 0.7])
    right = prediction_row(path=data.test.paths[5], label="a", predicted="a", probabilities=[1.0, 0.0, 0.0])
    mistakes_picture([right, *rows], data.test)
    assert [caption for _, caption in shown] == [f"a, taken for b ({share}%)" for share in (90, 70, 60, 50)]
    for (pixels, _), index in zip(shown, (1, 3, 2, 0), strict=True):
        assert np.array_equal(pixels, data.test.picture(index))


def test_no_more_than_the_worst_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []

    def drawn(pictures: list[tuple[np.ndarray, str]]) -> bytes:
        counts.append(len(pictures))
        return b""

    monkeypatch.setattr(finals_module, "mistakes_png", drawn)
    many = tiny_data(tmp_path, sizes=(8, 8, WORST + 5))
    mistakes_picture(predictions(many, [0.9] * (WORST + 5)), many.test)
    assert counts == [WORST]


def test_results_are_drawn_as_png(data: FitData) -> None:
    rows = predictions(data, [0.9, 0.8])
    assert opened(confusion_picture(rows, data.classes)).width > 100
    assert opened(mistakes_picture(rows, data.test)).width > 100
    assert opened(mistakes_picture([], data.test)).width > 100


def test_runs_of_one_role_need_no_comparison() -> None:
    finals = [final("probe", seed, 0.5, 0.5) for seed in range(3)]
    assert choose_final(finals, ACCURACY) is finals[0]


def test_two_recipes_of_one_role_are_two_candidates() -> None:
    """As an extended study has them, whose larger search found another best recipe."""
    early = [final("best", 0, 0.95, 0.5), final("best", 1, 0.60, 0.5)]
    later = [replace(final("best", seed, 0.80, 0.5), recipe=tiny_recipe(seed=seed, lr=0.5)) for seed in range(2)]
    assert choose_final([*early, *later], ACCURACY) is later[0]
    renamed = [early[0], replace(early[1], row=replace(early[1].row, role="head"))]
    assert choose_final([*renamed, *later], ACCURACY) is later[0], "under two roles it is one recipe all the same"


def test_what_has_no_checkpoint_any_more_is_not_published_anew(tmp_path: Path) -> None:
    def kept(each: Final, there: bool, published: bool = False) -> Final:
        folder = tmp_path / each.row.trial_id
        if there:
            folder.mkdir(exist_ok=True)
        path = "models/m" if published else None
        return replace(each, checkpoint=folder, row=replace(each.row, model_path=path))

    best, other = kept(final("best", 0, 0.9, 0.5), there=False), kept(final("best", 1, 0.8, 0.5), there=True)
    before = kept(final("probe", 0, 0.7, 0.5), there=True, published=True)
    assert choose_published([best, other, before], ACCURACY) is other, "another seed of the same recipe"
    assert choose_published([best, before], ACCURACY) is before, "what was published stays"
    assert choose_published([best], ACCURACY) is best, "whoever rebuilds it says that its checkpoint is gone"
    lost = kept(final("best", 2, 0.95, 0.5), there=False, published=True)
    assert choose_published([lost, other], ACCURACY) is lost, "a published one that was lost is no reason for another"


def right_and_wrong(right: dict[str, int], wrong: int) -> list[PredictionRow]:
    """Right answers for each class and mistakes, less and less sure."""
    rows: list[PredictionRow] = []
    for label, count in [*right.items(), ("wrong", wrong)]:
        for index in range(count):
            true, said = ("a", "b") if label == "wrong" else (label, label)
            share = 0.95 - 0.01 * index - 0.001 * len(rows)
            rows.append(prediction_row(path=f"{label}{index}", label=true, predicted=said, probabilities=[share]))
    return rows


def test_mistakes_are_explained_first_and_right_answers_class_by_class() -> None:
    rows = right_and_wrong({"c": 2, "a": 40, "b": 1}, 30)
    assert [row.path for row in explained(rows[::-1])] == [
        *(f"wrong{index}" for index in range(EXPLAINED // 2)), "a0", "b0", "c0", "a1", "c1", "a2", "a3", "a4",
    ]  # fmt: skip


@pytest.mark.parametrize(("right", "wrong", "mistakes"), [(40, 3, 3), (2, 40, 14), (0, 40, 16), (40, 0, 0), (3, 4, 4)])
def test_what_one_side_lacks_the_other_fills(right: int, wrong: int, mistakes: int) -> None:
    shown = explained(right_and_wrong({"a": right}, wrong))
    assert sum(row.label != row.predicted for row in shown) == mistakes
    assert len(shown) == min(EXPLAINED, right + wrong)


def saved(data: FitData, folder: Path) -> LoadedModel:
    """A model trained for a moment, saved and loaded."""
    recipe = tiny_recipe(image_size=16)
    run = start(recipe, data)
    list(run.epochs())
    save_snapshot(folder / "t", run.snapshot())
    save_final(Final(confirmed_row(), recipe, folder / "t"), data.classes, folder / "model", ModelCard("squares"))
    return load_model(folder / "model")


def test_each_picture_is_shown_as_the_model_sees_it_with_the_map_of_what_was_said(
    data: FitData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple[np.ndarray, np.ndarray, str]] = []

    def drawn(pictures: list[tuple[np.ndarray, np.ndarray, str]], otherwise: str) -> bytes:
        shown.extend(pictures)
        return b""

    monkeypatch.setattr(finals_module, "heat_png", drawn)
    loaded = saved(data, tmp_path)
    right = prediction_row(path=data.test.paths[4], label="c", predicted="c", probabilities=[0.1, 0.1, 0.8])
    heat_picture(loaded, [right, *predictions(data, [0.6, 0.9])], data.test)
    assert [caption for _, _, caption in shown] == ["a, taken for b (90%)", "a, taken for b (60%)", "c, rightly (80%)"]
    for (square, heat, _), index, said in zip(shown, (1, 0, 4), (1, 1, 2), strict=True):
        picture = data.test.picture(index)
        assert np.array_equal(square, picture[2:18, 2:18])
        np.testing.assert_allclose(heat, heat_maps(loaded, [np.array(picture)], [said])[0], atol=1e-6)


def test_heat_maps_lie_beside_their_model(data: FitData, tmp_path: Path) -> None:
    saved(data, tmp_path)
    png = save_heat(tmp_path / "model", predictions(data, [0.9, 0.8]), data.test)
    beside = Image.open(tmp_path / "model" / HEAT_FILE)
    assert beside.format == "JPEG" and beside.size == opened(png).size
    assert load_model(tmp_path / "model").classes == data.classes


def test_what_stands_in_the_way_of_heat_maps_is_said_in_their_place(
    data: FitData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, said = saved(data, tmp_path), []
    errors = iter([ConfigError("plain_cnn: no places"), torch.OutOfMemoryError("CUDA out of memory.\nA trace")])

    def refused(*_: object) -> np.ndarray:
        raise next(errors)

    def drawn(pictures: list[object], otherwise: str) -> bytes:
        said.append((len(pictures), otherwise))
        return b""

    assert opened(heat_picture(loaded, [], data.test)).width > 100
    monkeypatch.setattr(finals_module, "heat_png", drawn)
    heat_picture(loaded, [], data.test)
    monkeypatch.setattr(finals_module, "heat_maps", refused)
    for _ in range(2):
        heat_picture(loaded, predictions(data, [0.9]), data.test)
    assert said == [
        (0, "no predictions"),
        (0, "no heat maps: plain_cnn: no places"),
        (0, "no heat maps: CUDA out of memory."),
    ]


def test_another_seed_of_the_same_split_stands_for_a_model_whose_checkpoint_is_gone(tmp_path: Path) -> None:
    there = tmp_path / "checkpoint"
    there.mkdir()
    gone = final("best", 0, 0.9, 0.5)
    same, better = final("best", 1, 0.7, 0.5), final("best", 0, 0.8, 0.5, split=1)
    finals = [gone, replace(better, checkpoint=there), replace(same, checkpoint=there)]
    assert choose_published(finals, ACCURACY) is finals[2]
    assert choose_published(finals[:2], ACCURACY) is finals[1]


def test_predictions_whose_picture_is_gone_are_not_shown(data: FitData, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[int] = []

    def drawn(pairs: Sequence[object]) -> bytes:
        shown.append(len(pairs))
        return b""

    monkeypatch.setattr(finals_module, "mistakes_png", drawn)
    known = prediction_row(path=data.test.paths[0], label="a", predicted="b")
    gone = replace(known, path="earlier/gone.png")
    mistakes_picture([gone, known], data.test)
    assert shown == [1]
    nothing = heat_png([], "no predictions")
    assert heat_picture(None, [gone], data.test) == nothing  # type: ignore[arg-type]
