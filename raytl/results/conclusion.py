"""What a study ended on: for a person as lines, for a program as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from raytl.design import Design
from raytl.limits import NO_LIMITS, Limits
from raytl.metric import Metric
from raytl.results.afterwards import find_afterwards
from raytl.results.costs import run_costs
from raytl.results.designed import design_lines
from raytl.results.distillates import distillate_sentence
from raytl.results.ensembles import ensemble_sentence
from raytl.results.facts import FinalModel, final_models
from raytl.results.folder import StudyFolder
from raytl.results.leaderboard import answer_text, leaderboard_lines
from raytl.results.tables import Tables
from raytl.results.usage import bill_of
from raytl.results.wording import COLUMNS


@dataclass(frozen=True)
class Conclusion:
    """The tables of a study that is over, where it lies, and the exit code that the command ends on."""

    folder: StudyFolder
    tables: Tables
    metric: Metric
    exit_code: int = 0
    design: Design = field(default_factory=dict)
    limits: Limits = NO_LIMITS

    def lines(self, columns: int = COLUMNS) -> list[str]:
        """The leaderboard, the answer, and where everything lies; paths may be longer than a line."""
        effects = design_lines(self.design, self.tables, self.metric, columns)
        return [
            *leaderboard_lines(self.tables, self.metric, columns, self.limits),
            "",
            *([*effects, ""] if effects else []),
            f"report:      {self.folder.report}",
            f"models:      {self.folder.models}",
            f"TensorBoard: tensorboard --logdir {self.folder.tensorboard}",
            f"of models:   tensorboard --logdir {self.folder.tensorboard_finals}",
        ]

    def values(self) -> dict[str, object]:
        """The same for a program; accuracies are fractions, the best model stands first, what was made of them last."""
        models, bill = final_models(self.tables, self.metric, self.limits), bill_of(self.tables.trials)
        later = find_afterwards(self.tables, models, self.limits)
        shown = (*models, *later.models)
        return {
            "exit_code": self.exit_code,
            "folder": str(self.folder.root),
            "report": str(self.folder.report),
            "models_folder": str(self.folder.models),
            "tensorboard": str(self.folder.tensorboard),
            "tensorboard_finals": str(self.folder.tensorboard_finals),
            "metric": self.metric.name,
            "answer": answer_text(self.tables, self.metric, self.limits),
            "effects": design_lines(self.design, self.tables, self.metric),
            "ensembles": [ensemble_sentence(each) for each in later.ensembles],
            "distillates": [distillate_sentence(each) for each in later.distillates],
            "cost": None if bill is None else vars(bill),
            "models": [
                {**model_values(model), "cost": cost.cost}
                for model, cost in zip(shown, run_costs(self.tables, shown), strict=True)
            ],
        }


def model_values(model: FinalModel) -> Mapping[str, object]:
    """One final model for a program."""
    return {
        "backbone": model.backbone,
        "role": model.role,
        "freeze_depth": model.freeze_depth,
        "seeds": list(model.seeds),
        "val_accuracy": model.val_accuracy,
        "val_macro_f1": model.val_macro_f1,
        "val_loss": model.val_loss,
        "test_accuracy": model.test.value,
        "test_accuracy_low": model.test.low,
        "test_accuracy_high": model.test.high,
        "test_macro_f1": model.test_macro_f1,
        "test_loss": model.test_loss,
        "test_auc": model.test_auc,
        "test_count": model.test_count,
        "train_seconds": model.train_seconds,
        "predict_images_per_second": model.predict_images_per_second,
        "over_limit": model.over,
        "model_path": model.model_path,
        "recipe": model.recipe.values() if model.recipe else None,
    }
