"""Final models: chosen on validation alone, rebuilt as they were, and their results drawn."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from raytl.data.store import FitData
from raytl.errors import StorageError
from raytl.metric import METRICS
from raytl.results.schemas import ConfirmedRow, PredictionRow
from raytl.train.checkpoint import save_snapshot
from raytl.use import finals as finals_module
from raytl.use.card import ModelCard
from raytl.use.export import load_model
from raytl.use.finals import (
    WORST,
    Final,
    choose_final,
    chosen_role,
    confusion_picture,
    mistakes_picture,
    prune,
    rebuild,
    save_final,
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
    return Final(row, tiny_recipe(seed=seed), Path("nowhere"))


def test_the_better_recipe_on_average_and_its_best_seed_are_chosen() -> None:
    finals = [
        final("best", 0, 0.80, 0.5),
        final("best", 1, 0.90, 0.5),
        final("probe", 0, 0.95, 0.5),  # the best single run, of the worse recipe
        final("probe", 1, 0.60, 0.5),
    ]
    assert choose_final(finals, ACCURACY) is finals[1]
    assert chosen_role([each.row for each in finals], ACCURACY) == "best"


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
    mistakes_picture([right, *rows], data.test, data.classes)
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
    mistakes_picture(predictions(many, [0.9] * (WORST + 5)), many.test, many.classes)
    assert counts == [WORST]


def test_results_are_drawn_as_png(data: FitData) -> None:
    rows = predictions(data, [0.9, 0.8])
    assert opened(confusion_picture(rows, data.classes)).width > 100
    assert opened(mistakes_picture(rows, data.test, data.classes)).width > 100
    assert opened(mistakes_picture([], data.test, data.classes)).width > 100


def test_rows_of_one_role_need_no_comparison() -> None:
    rows: list[ConfirmedRow] = [confirmed_row(role="probe", seed=seed) for seed in range(3)]
    assert chosen_role(rows, ACCURACY) == "probe"
