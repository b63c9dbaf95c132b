"""A search the way a notebook does it: Optuna, one trial after another, every trial from the files on.

Not a benchmark: `peers.py` runs it, in a process of its own.

    python experiments/benchmarks/notebook.py FOLDER --weights DIR --backbones mobilenetv2_100

Eight trials of three epochs by TPE over rate and batch size, all stages trained by Adam; then the best settings for six
epochs. FOLDER holds train/, val/ and test/. The last line printed is JSON: the test pictures that the final models got
right, and the seconds of search and first final model.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import optuna
import torch
from plain import final_models, make_loaders, make_model, right_of, train_epoch

TRIAL_EPOCHS = 3


def main() -> None:
    options = _parse()
    begin = time.perf_counter()

    def objective(trial: optuna.Trial) -> float:
        torch.manual_seed(trial.number)
        lr = trial.suggest_float("lr", 1e-5, 1e-2, log=True)
        loaders = make_loaders(options.folder, trial.suggest_categorical("batch_size", [16, 32, 64]))
        model = make_model(options.backbones, options.weights, len(loaders["train"].dataset.class_to_idx))  # type: ignore[attr-defined]
        optimizer = torch.optim.Adam(model.parameters(), lr=lr)
        best = 0.0
        for _ in range(min(TRIAL_EPOCHS, options.epochs)):
            train_epoch(model, loaders["train"], optimizer)
            best = max(best, float(right_of(model, loaders["val"]).mean()))
        return best

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(objective, n_trials=options.trials)
    searched = time.perf_counter() - begin
    config = {"backbone": options.backbones, **study.best_params}
    correct, seconds = final_models(options.folder, options.weights, config, options.epochs, options.seeds)
    print(json.dumps({"correct": correct, "seconds": searched + seconds, "config": config}))


def _parse() -> argparse.Namespace:
    made = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("folder", type=Path)
    made.add_argument("--weights", type=Path, required=True)
    made.add_argument("--backbones", required=True, help="one name")
    made.add_argument("--trials", type=int, default=8)
    made.add_argument("--epochs", type=int, default=6)
    made.add_argument("--seeds", type=int, default=3)
    return made.parse_args()


if __name__ == "__main__":
    main()
