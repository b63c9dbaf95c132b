"""A study opened in Python tells what its report tells."""

from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc
import pytest

from raytl.errors import ConfigError, StorageError
from raytl.metric import METRICS
from raytl.results.facts import final_models
from raytl.results.leaderboard import answer_text
from raytl.results.loaded import LoadedStudy, load_study
from raytl.results.schemas import TABLES
from raytl.results.tables import load_tables
from tests.studies import Plan, write_study

ACCURACY = METRICS["val_accuracy"]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> LoadedStudy:
    return load_study(str(write_study(tmp_path_factory.mktemp("studies") / "made", Plan(seeds=2)).root))


def test_the_tables_are_the_studys(study: LoadedStudy) -> None:
    expected = load_tables(study.folder)
    for name in TABLES:
        assert getattr(study, name).equals(getattr(expected, name)) and getattr(study, name).num_rows > 0
    assert len(study.trials.to_pandas()) == study.trials.num_rows


def test_the_best_is_the_answer_of_the_report(study: LoadedStudy) -> None:
    best, model = study.best(), final_models(study.tables, ACCURACY)[0]
    assert (best.backbone, best.role, best.recipe) == (model.backbone, model.role, model.recipe)
    assert best.test_accuracy == model.test and best.seeds == (0, 1) and best.test_count == 60
    assert best.model_path == study.folder.root / "models" / "tiny_vit"
    assert best.sentence == answer_text(study.tables, ACCURACY)
    assert {each.name for each in best.comparisons} == {"the runner-up", "its own linear probe"}


def test_the_leaderboard_is_a_table_best_first(study: LoadedStudy) -> None:
    table = study.leaderboard()
    rows = study.confirmed.to_pylist()
    means = {}
    for backbone, role in {(row["backbone"], row["role"]) for row in rows}:
        own = [row["test_accuracy"] for row in rows if (row["backbone"], row["role"]) == (backbone, role)]
        means[backbone, role] = sum(own) / len(own)
    found = {(row["backbone"], row["role"]): row["test_accuracy"] for row in table.to_pylist()}
    assert found == pytest.approx(means)
    assert table["val_accuracy"].to_pylist() == sorted(table["val_accuracy"].to_pylist(), reverse=True)


def test_a_study_before_its_confirmation_has_tables_and_no_answer(tmp_path: Path) -> None:
    study = load_study(write_study(tmp_path / "made", Plan(confirmed=False)).root)
    assert study.leaderboard().num_rows == 0 and study.trials.num_rows > 0
    with pytest.raises(ConfigError, match=r"no final model has been tested yet.*raytl resume"):
        study.best()
    assert study.plot_pareto().axes == [] and study.plot_confusion().axes == []


def test_figures_are_those_of_the_study(study: LoadedStudy) -> None:
    assert [axes.get_title() for axes in study.plot_curves().axes] == ["tiny_vit", "tiny_resnet", "tiny_mobilenet"]
    assert len(study.plot_freeze_depth().axes) == 2 and len(study.plot_pareto().axes) == 3
    assert study.plot_confusion().axes[0].get_title() == "tiny_vit, best"
    other = study.plot_confusion("tiny_resnet").axes[0]
    ids = final_models(study.tables, ACCURACY)[3].trial_ids
    model = next(each for each in study.final_models if each.backbone == "tiny_resnet")
    assert ids and sum(int(text.get_text()) for text in other.texts) == 60 * len(model.trial_ids)
    right = study.predictions.filter(
        pc.field("trial_id").isin(list(model.trial_ids)) & (pc.field("label") == pc.field("predicted"))
    )
    shown = [int(text.get_text()) for text in other.texts]
    assert sum(shown[:: len(other.get_xticks()) + 1]) == len(right)
    with pytest.raises(ConfigError, match="did you mean 'tiny_resnet'"):
        study.plot_confusion("tiny_resnot")


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        load_study(tmp_path / "absent")
    with pytest.raises(StorageError, match="no study of raytl"):
        load_study(tmp_path)
