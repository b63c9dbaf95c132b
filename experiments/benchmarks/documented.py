"""A search the way Ray's documentation shows it: Tune over functions that each start a `TorchTrainer`.

Not a benchmark: `study.py`, `warm_start.py` and `peers.py` run it as an arm, in a process of its own.

    python experiments/benchmarks/documented.py FOLDER --trials 24 --epochs 9 --backbones tiny_resnet,tiny_vit
    python experiments/benchmarks/documented.py FOLDER --trials 8 --epochs 6 --backbones mobilenetv2_100 --weights DIR

After the user guide "Hyperparameter Tuning with Ray Tune" (a driver function, `TuneReportCallback`, ASHA) and the
example "Finetuning a Pytorch Image Classifier" (`ImageFolder`, `RandomResizedCrop` and flips, `prepare_model`, a
checkpoint with each report), with timm's `freeze` for the stages that are not trained. FOLDER holds train/ and val/.
With `--weights` the backbone is timm's at 224 pixels and all of it is trained, rate and batch size searched; FOLDER
then holds test/, too, and the best settings are trained again for each of `--seeds`. The last line printed is JSON: the
best validation accuracy and when it was first seen, when each trial's training began and ended, and the test pictures
that the final models got right, with the seconds of the search.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import plain
import ray
import torch
from plain import final_models
from ray import train, tune
from ray.train import Checkpoint, ScalingConfig
from ray.train.torch import TorchTrainer, prepare_data_loader, prepare_model
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import ASHAScheduler
from timm.utils import freeze
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from raytl.models.carried import load_carried

LOGICAL_CPUS = 64  # far more than there are: with few, stopped trials' placement groups stay and the search hangs
BATCH, PIXELS = 32, 64
FEATURES = {"tiny_resnet": 128, "tiny_vit": 96}
# The backbone's modules in order; freezing k of 5 parts freezes those of the first k. timm's names.
PARTS = {
    "tiny_resnet": (("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",)),
    "tiny_vit": (("patch_embed",), ("blocks.0", "blocks.1"), ("blocks.2",), ("blocks.3",), ("blocks.4", "norm")),
}


def main() -> None:
    options = _parse()
    begin = time.perf_counter()
    ray.init(num_cpus=LOGICAL_CPUS, include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as storage:
        results = make_tuner(options, storage).fit()
        metrics = [results[index].metrics or {} for index in range(len(results))]
    measured = [each for each in metrics if "val_accuracy" in each]
    highest = max(each["best_val_accuracy"] for each in measured)
    said = {
        "best_val_accuracy": highest,
        "best_at": min(each["best_at"] for each in measured if each["best_val_accuracy"] == highest),
        "trials": len(measured),
        "times": sorted((each["began"], each["ended"]) for each in measured),
        "seconds": time.perf_counter() - begin,
    }
    ray.shutdown()
    if options.weights:
        config = max(measured, key=lambda each: each["best_val_accuracy"])["config"]
        said["correct"], _ = final_models(options.folder, options.weights, config, options.epochs, options.seeds)
    print(json.dumps(said))


def _parse() -> argparse.Namespace:
    made = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("folder", type=Path)
    made.add_argument("--trials", type=int, required=True)
    made.add_argument("--epochs", type=int, required=True)
    made.add_argument("--backbones", default="tiny_resnet")
    made.add_argument("--concurrent", type=int, default=1)
    made.add_argument("--asha", action="store_true")
    made.add_argument("--weights", type=Path, help="a folder that holds <backbone>.safetensors")
    made.add_argument("--seeds", type=int, default=3, help="final models, with --weights")
    return made.parse_args()


def make_tuner(options: argparse.Namespace, storage: str) -> tune.Tuner:
    """The search at random: backbone, freeze depth, rate and weight decay; of published weights rate and batch size."""
    space = {
        "folder": str(options.folder.resolve()),
        "storage": storage,
        "epochs": options.epochs,
        "backbone": tune.choice(options.backbones.split(",")),
    }
    if options.weights:
        space |= {"weights": str(options.weights.resolve())}
        space |= {"lr": tune.loguniform(1e-5, 1e-2), "batch_size": tune.choice([16, 32, 64])}
    else:
        space |= {"weights": None, "batch_size": BATCH, "freeze": tune.choice(range(6))}
        space |= {"lr": tune.loguniform(1e-4, 1e-2), "weight_decay": tune.loguniform(1e-4, 0.3)}
    config = tune.TuneConfig(
        metric="val_accuracy",
        mode="max",
        num_samples=options.trials,
        max_concurrent_trials=options.concurrent,
        scheduler=ASHAScheduler(max_t=options.epochs, grace_period=1) if options.asha else None,
    )
    return tune.Tuner(
        train_driver, param_space=space, tune_config=config, run_config=tune.RunConfig(storage_path=storage, verbose=0)
    )


def train_driver(config: dict[str, Any]) -> None:
    """What Tune runs for a trial: a training run of one worker."""
    callbacks: list[Any] = [TuneReportCallback()]
    TorchTrainer(
        train_worker,
        train_loop_config=config,
        scaling_config=ScalingConfig(num_workers=1),
        run_config=train.RunConfig(
            name=f"train-trial_id={tune.get_context().get_trial_id()}",
            storage_path=config["storage"],
            callbacks=callbacks,
        ),
    ).fit()


def train_worker(config: dict[str, Any]) -> None:
    """What Ray Train runs on the worker: fine-tuning, with a report and a checkpoint after each epoch."""
    published = config["weights"] is not None
    loaders = (plain.make_loaders if published else make_loaders)(Path(config["folder"]), config["batch_size"])
    loaders = {split: prepare_data_loader(loader) for split, loader in loaders.items()}
    # Not `.classes`: cloudpickle takes that word in a function that uses torch for `torch.classes`, and fails on it.
    count = len(loaders["train"].dataset.class_to_idx)  # type: ignore[attr-defined]
    model = prepare_model(
        plain.make_model(config["backbone"], Path(config["weights"]), count) if published else make_model(config, count)
    )
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=config["lr"], weight_decay=config.get("weight_decay", 0.0))
    criterion = nn.CrossEntropyLoss()
    began = best_at = time.time()
    best = 0.0
    for epoch in range(config["epochs"]):
        model.train()
        for inputs, labels in loaders["train"]:
            optimizer.zero_grad()
            loss = criterion(model(inputs), labels)
            loss.backward()
            optimizer.step()
        accuracy = accuracy_of(model, loaders["val"])
        if accuracy > best:
            best, best_at = accuracy, time.time()
        metrics: dict[str, Any] = {
            "val_accuracy": accuracy,
            "best_val_accuracy": best,
            "best_at": best_at,
            "began": began,
            "ended": time.time(),
        }
        metrics["config"] = {name: config.get(name) for name in ("backbone", "lr", "batch_size")}
        with tempfile.TemporaryDirectory() as folder:
            torch.save({"epoch": epoch, "model": model.state_dict()}, Path(folder) / "checkpoint.pt")
            train.report(metrics, checkpoint=Checkpoint.from_directory(folder))


def make_loaders(folder: Path, batch_size: int) -> dict[str, DataLoader[Any]]:
    """Augmented training pictures and plain validation pictures."""
    last = [transforms.ToTensor(), transforms.Normalize([0.5, 0.5, 0.5], [0.5, 0.5, 0.5])]
    steps = {
        "train": [transforms.RandomResizedCrop(PIXELS), transforms.RandomHorizontalFlip(), *last],
        "val": [transforms.Resize(PIXELS), transforms.CenterCrop(PIXELS), *last],
    }
    pictures = {split: datasets.ImageFolder(str(folder / split), transforms.Compose(steps[split])) for split in steps}
    return {split: DataLoader(pictures[split], batch_size=batch_size, shuffle=split == "train") for split in steps}


def make_model(config: dict[str, Any], class_count: int) -> nn.Module:
    """A carried backbone with a new linear layer, its first parts frozen."""
    backbone = load_carried(config["backbone"])
    frozen = [name for part in PARTS[config["backbone"]][: config["freeze"]] for name in part]
    if frozen:
        freeze(backbone, frozen)
        position = getattr(backbone, "pos_embed", None)  # a parameter of no module of its own
        if position is not None:
            position.requires_grad = False
    return nn.Sequential(backbone, nn.Linear(FEATURES[config["backbone"]], class_count))


@torch.no_grad()
def accuracy_of(model: nn.Module, loader: DataLoader[Any]) -> float:
    """The share of the validation pictures that the model gets right."""
    model.eval()
    right = total = 0
    for inputs, labels in loader:
        right += int((model(inputs).argmax(1) == labels).sum())
        total += len(labels)
    return right / total


if __name__ == "__main__":
    main()
