"""Ray Tune with Optuna and ASHA as documented, to be killed and restored.

Not a benchmark: `chaos.py` runs it, in a process of its own.

    python experiments/benchmarks/plain_ray.py FOLDER --trials 14 [--restore]

Each report is also noted in FOLDER/reported.txt, as `<trial id> <epoch>`. The last line printed is JSON: the names of
the trials among the results.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

EPOCHS, EPOCH_SECONDS = 9, 0.3


def main() -> None:
    options = _parse()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    trainable = tune.with_parameters(train, log=str(options.folder.resolve() / "reported.txt"))
    storage = options.folder.resolve() / "ray"
    tuner = (
        tune.Tuner.restore(str(storage / "search"), trainable, resume_unfinished=True)
        if options.restore
        else make_tuner(trainable, storage, options.trials)
    )
    results = tuner.fit()
    metrics = [results[index].metrics or {} for index in range(len(results))]
    print(json.dumps([str(each["trial_id"]) for each in metrics if "trial_id" in each]))


def _parse() -> argparse.Namespace:
    made = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("folder", type=Path)
    made.add_argument("--trials", type=int, required=True)
    made.add_argument("--restore", action="store_true")
    return made.parse_args()


def make_tuner(trainable: Any, storage: Path, trials: int) -> tune.Tuner:
    """The search as the user guides write it."""
    return tune.Tuner(
        trainable,
        param_space={"lr": tune.loguniform(1e-4, 1e-1)},
        tune_config=tune.TuneConfig(
            metric="accuracy",
            mode="max",
            num_samples=trials,
            search_alg=OptunaSearch(),
            scheduler=ASHAScheduler(time_attr="training_iteration", max_t=EPOCHS, grace_period=1, reduction_factor=3),
        ),
        run_config=tune.RunConfig(name="search", storage_path=str(storage), verbose=0),
    )


def train(config: dict[str, Any], log: str) -> None:
    """Nine epochs of a made-up learning curve."""
    for epoch in range(1, EPOCHS + 1):
        time.sleep(EPOCH_SECONDS)
        with Path(log).open("a", encoding="utf-8") as file:
            file.write(f"{tune.get_context().get_trial_id()} {epoch}\n")
        tune.report({"accuracy": (1 - abs(config["lr"] - 0.01)) * (1 - 0.5**epoch)})


if __name__ == "__main__":
    main()
