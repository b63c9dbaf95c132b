"""A study's folder opened in Python: its tables, its answer, and figures of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from raytl.choice import nearest
from raytl.errors import ConfigError
from raytl.limits import NO_LIMITS, Limits
from raytl.metric import Metric
from raytl.recipe import Recipe
from raytl.results.afterwards import Afterwards, find_afterwards
from raytl.results.conclusion import model_values
from raytl.results.confusion import confusion
from raytl.results.distillates import Distillate
from raytl.results.ensembles import Ensemble
from raytl.results.facts import (
    Comparison,
    FinalModel,
    backbone_searches,
    final_models,
    find_answer,
    study_limits,
    study_metric,
)
from raytl.results.folder import StudyFolder
from raytl.results.history import freeze_points, trial_curves
from raytl.results.leaderboard import answer_text
from raytl.results.stats import Interval
from raytl.results.tables import Tables, load_tables

if TYPE_CHECKING:  # matplotlib takes a second to import, and tables alone need none
    from raytl.results.plots import Plot

NOT_FLAT = ("recipe", "seeds")  # of a model's values: what a column of a table cannot hold


@dataclass(frozen=True)
class Best:
    """A study's answer: the final model that is best on validation pictures.

    `test_accuracy` is a fraction with the ends of its 95% interval, over `seeds` and `test_count` pictures.
    `model_path` is the folder that `raytl.load_model` opens; None where no model has been published yet, or only other
    recipes of this backbone. `sentence` says all this as the report does.
    """

    backbone: str
    role: str
    recipe: Recipe | None
    freeze_depth: int
    test_accuracy: Interval
    test_count: int
    seeds: tuple[int, ...]
    comparisons: tuple[Comparison, ...]
    model_path: Path | None
    sentence: str


@dataclass(frozen=True)
class LoadedStudy:
    """A study as its folder was when it was loaded; later rows need another `load_study`.

    Tables are pyarrow's (`.to_pandas()` makes data frames of them), with the columns that results/README.md explains.
    """

    folder: StudyFolder
    tables: Tables
    metric: Metric
    limits: Limits = NO_LIMITS

    @property
    def trials(self) -> pa.Table:
        """One row per trial, final models included."""
        return self.tables.trials

    @property
    def epochs(self) -> pa.Table:
        """One row per trial and epoch."""
        return self.tables.epochs

    @property
    def confirmed(self) -> pa.Table:
        """One row per final model and seed, with its test figures."""
        return self.tables.confirmed

    @property
    def predictions(self) -> pa.Table:
        """One row per test picture and final model."""
        return self.tables.predictions

    @property
    def data(self) -> pa.Table:
        """One row per picture file."""
        return self.tables.data

    @cached_property
    def final_models(self) -> tuple[FinalModel, ...]:
        """What was trained again and tested, best on validation first, those over the limits last; means over runs."""
        return final_models(self.tables, self.metric, self.limits)

    @cached_property
    def afterwards(self) -> Afterwards:
        """What was made of final models when they had been tested."""
        return find_afterwards(self.tables, self.final_models, self.limits)

    @property
    def ensembles(self) -> tuple[Ensemble, ...]:
        """What `raytl ensemble` made of final models, as it was tested; none of them is the answer."""
        return self.afterwards.ensembles

    @property
    def distillates(self) -> tuple[Distillate, ...]:
        """What `raytl distill` taught, as it was tested; none of them is the answer."""
        return self.afterwards.distillates

    def best(self) -> Best:
        """The answer as facts.

        Raises:
            ConfigError: no final model has been tested yet.
        """
        answer = find_answer(self.tables, self.final_models, backbone_searches(self.tables, self.metric), self.metric)
        if answer is None:
            raise ConfigError(
                f"{self.folder.root}: no final model has been tested yet, so there is no answer; "
                f"`raytl resume {self.folder.root}` goes on with the study"
            )
        model = answer.best
        return Best(
            backbone=model.backbone,
            role=model.role,
            recipe=model.recipe,
            freeze_depth=model.freeze_depth,
            test_accuracy=model.test,
            test_count=model.test_count,
            seeds=model.seeds,
            comparisons=answer.comparisons,
            model_path=self.folder.root / model.model_path if model.model_path else None,
            sentence=answer_text(self.tables, self.metric, self.limits),
        )

    def leaderboard(self) -> pa.Table:
        """Final models, best on validation first, a row each, then what was made of them; accuracies are fractions.

        Empty before the first test.
        """
        rows = [model_values(model) for model in (*self.final_models, *self.afterwards.models)]
        return pa.Table.from_pylist(
            [{name: value for name, value in row.items() if name not in NOT_FLAT} for row in rows]
        )

    def plot_curves(self) -> Plot:
        """Learning curves of the search, a panel for each backbone."""
        from raytl.results.plots import curves_plot

        searches = backbone_searches(self.tables, self.metric)
        return curves_plot(trial_curves(self.tables, searches, self.metric), self.metric)

    def plot_freeze_depth(self) -> Plot:
        """What trials reached and cost, by how much of their backbone was frozen."""
        from raytl.results.plots import freeze_plot

        return freeze_plot(freeze_points(self.tables, self.metric), self.metric)

    def plot_pareto(self) -> Plot:
        """Accuracy of final models against speed, size and seconds of training."""
        from raytl.results.plots import pareto_plot

        return pareto_plot(self.final_models, self.limits)

    def plot_confusion(self, backbone: str | None = None) -> Plot:
        """Which classes the answer, or the best final model of `backbone`, takes for which, over all its runs.

        Raises:
            ConfigError: the study has no final model of that backbone.
        """
        from raytl.results.plots import confusion_plot

        names = tuple(dict.fromkeys(model.backbone for model in self.final_models))
        if backbone is not None and backbone not in names:
            raise ConfigError(
                f"backbone={backbone!r}: {self.folder.root} has no final model of it{nearest(backbone, names)}; "
                f"there are {', '.join(names) or 'none'}"
            )
        own = [model for model in self.final_models if backbone in (None, model.backbone)][:1]
        found = confusion(self.tables.predictions, own[0].trial_ids) if own else None
        return confusion_plot(found, f"{own[0].backbone}, {own[0].role}" if own else "")


def load_study(folder: str | Path) -> LoadedStudy:
    """Opens a study's folder, finished or not, for a look at what it holds.

    Raises:
        ConfigError: there is no such folder.
        StorageError: it holds no study, or its tables cannot be read.
    """
    opened = StudyFolder(Path(folder))
    values = opened.read_study()
    return LoadedStudy(opened, load_tables(opened), study_metric(values), study_limits(values))
