"""What the carried weights are worth: linear probe and fine-tuning with them and with random weights.

    python experiments/benchmarks/carried_weights.py [--data DIR] [--sets digits] [--backbones tiny_vit] [--out FILE]

Both embedded data sets; with `--data DIR` the folders of pictures `hymenoptera` and `flowers` in it as well. For each
seed: 200 pictures to train on, 200 others to choose the one free setting, up to 600 others for the figure. Both arms
choose from the same settings. One thread on a machine of two
cores, busy with other work, took 9 to 19 minutes for a backbone on the embedded sets.

Arms: `carried`; `random` (a new initialization per seed, batch-norm statistics as initialized: mean 0, variance 1);
`random_bn` (probe only: the same with the statistics measured on the training pictures, where there are any).
Probe: features of the frozen network in eval mode, standardized by the training pictures, logistic regression, its
strength chosen. Fine-tuning: all weights, AdamW, cosine, the learning rate chosen.
"""

import argparse
import copy
import datetime
import platform
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import t as student_t
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional as F

from raytl.data.samples import sample_names, write_sample
from raytl.models.carried import CARRIED, create_carried, load_carried

TRAIN, VAL, TEST_AT_MOST = 200, 200, 600
PIXELS = 64
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)  # C of the logistic regression
RATES = (3e-4, 1e-3, 3e-3)
EPOCHS, BATCH = 8, 20
UNFLIPPABLE = {"digits"}
PROBE_ARMS = ("random", "random_bn", "carried")
FINETUNE_ARMS = ("random", "carried")


@dataclass(frozen=True)
class Pictures:
    """One labelled part: pixels (N, H, W, 3) uint8, labels (N,)."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def take(self, where: NDArray[np.int64]) -> "Pictures":
        return Pictures(self.pixels[where], self.labels[where])


@dataclass(frozen=True)
class Parts:
    train: Pictures
    val: Pictures
    test: Pictures


@dataclass(frozen=True)
class Score:
    """One arm of one seed; `setting` is the strength (probe) or learning rate (finetune) chosen on `val`."""

    data_set: str
    backbone: str
    method: str
    weights: str
    seed: int
    setting: float
    val_accuracy: float
    test_accuracy: float
    test_count: int


def main() -> None:
    options = _parse()
    torch.set_num_threads(options.threads)
    scores: list[Score] = []
    for name in options.sets or ["drawn-flowers", "digits", *(["hymenoptera", "flowers"] if options.data else [])]:
        pictures = load_pictures(name, options.data)
        for backbone in options.backbones or CARRIED:
            for score in measure(name, pictures, backbone, options.seeds, options.finetune_seeds):
                print(score, flush=True)
                scores.append(score)
    table = _merge(options.out, _to_table(scores))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, options.out)
    print(markdown(table))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder that holds hymenoptera/ and flowers/")
    parser.add_argument("--sets", nargs="+")
    parser.add_argument("--backbones", nargs="+", choices=list(CARRIED))
    parser.add_argument("--seeds", type=int, default=5, help="for the probe")
    parser.add_argument("--finetune-seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    reference = Path("results/reference/carried_weights.parquet")
    parser.add_argument("--out", type=Path, default=reference, help="rows of other sets and backbones in it are kept")
    return parser.parse_args()


def load_pictures(name: str, data: Path | None) -> Pictures:
    """An embedded data set, or the folder `name` in `data`; a picture's class is the name of its folder."""
    if name not in sample_names():
        if data is None:
            raise SystemExit(f"{name} is not embedded: say with --data which folder holds {name}/")
        return _read(data / name)
    with tempfile.TemporaryDirectory() as folder:
        return _read(write_sample(name, Path(folder) / name))


def _read(folder: Path) -> Pictures:
    files = sorted(file for kind in ("*.jpg", "*.png") for file in folder.rglob(kind))
    classes = sorted({file.parent.name for file in files})
    labels = np.array([classes.index(file.parent.name) for file in files])
    return Pictures(np.stack([_square(file) for file in files]), labels)


def _square(file: Path) -> NDArray[np.uint8]:
    picture = Image.open(file).convert("RGB")
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    box = (left, top, left + side, top + side)
    return np.asarray(picture.resize((PIXELS, PIXELS), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0))


def split(pictures: Pictures, seed: int) -> Parts:
    order = np.random.default_rng(seed).permutation(len(pictures.labels))
    # A small set (hymenoptera: 398 pictures) keeps at least a fourth for the figure.
    val = min(VAL, (len(order) - TRAIN) // 2)
    ends = (TRAIN, TRAIN + val, TRAIN + val + TEST_AT_MOST)
    return Parts(*(pictures.take(part) for part in np.split(order, ends)[:3]))


def _to_input(pixels: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


def measure(name: str, pictures: Pictures, backbone: str, seeds: int, finetune_seeds: int) -> Iterator[Score]:
    """All arms of one backbone on one data set."""
    for seed in range(max(seeds, finetune_seeds)):
        parts = split(pictures, seed)
        for weights in PROBE_ARMS if seed < seeds else ():
            result = probe(_network(backbone, weights, seed, parts.train), parts)
            yield Score(name, backbone, "probe", weights, seed, *result, len(parts.test.labels))
        for weights in FINETUNE_ARMS if seed < finetune_seeds else ():
            network = _network(backbone, weights, seed, parts.train)
            result = finetune(network, parts, seed, name not in UNFLIPPABLE)
            yield Score(name, backbone, "finetune", weights, seed, *result, len(parts.test.labels))


def _network(backbone: str, weights: str, seed: int, train: Pictures) -> nn.Module:
    torch.manual_seed(seed)
    if weights == "carried":
        return load_carried(backbone).eval()
    network = create_carried(backbone)
    if weights == "random_bn":
        _measure_statistics(network, train)
    return network.eval()


@torch.no_grad()
def _measure_statistics(network: nn.Module, train: Pictures) -> None:
    """Set batch-norm's running statistics to those of the training pictures."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # torch: a plain average over the calls
    network.train()
    network(_to_input(train.pixels))


def probe(network: nn.Module, parts: Parts) -> tuple[float, float, float]:
    """(strength, validation accuracy, test accuracy) of logistic regression on the frozen features."""
    train, val, test = (_features(network, part.pixels) for part in (parts.train, parts.val, parts.test))
    best = (0.0, -1.0, 0.0)
    for strength in STRENGTHS:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))
        model.fit(train, parts.train.labels)
        accuracy = float(model.score(val, parts.val.labels))
        if accuracy > best[1]:
            best = (strength, accuracy, float(model.score(test, parts.test.labels)))
    return best


@torch.inference_mode()
def _features(network: nn.Module, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    chunks = [network(_to_input(pixels[start : start + 100])).numpy() for start in range(0, len(pixels), 100)]
    return np.concatenate(chunks)


def finetune(network: nn.Module, parts: Parts, seed: int, may_flip: bool) -> tuple[float, float, float]:
    """(learning rate, validation accuracy, test accuracy) after the last epoch, at the best of the rates."""
    best = (0.0, -1.0, 0.0)
    for rate in RATES:
        trained = _train(copy.deepcopy(network), parts.train, rate, seed, may_flip)
        accuracy = _accuracy(trained, parts.val)
        if accuracy > best[1]:
            best = (rate, accuracy, _accuracy(trained, parts.test))
    return best


def _train(backbone: nn.Module, train: Pictures, rate: float, seed: int, may_flip: bool) -> nn.Module:
    torch.manual_seed(seed)
    features = backbone(_to_input(train.pixels[:2])).shape[1]
    model = nn.Sequential(backbone, nn.Linear(features, int(train.labels.max()) + 1))
    model = model.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=0.05)
    steps = EPOCHS * (len(train.labels) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    rng = np.random.default_rng(seed)
    for _ in range(EPOCHS):
        for where in rng.permutation(len(train.labels)).reshape(-1, BATCH):
            part = train.take(where)
            flipped = part.pixels[:, :, ::-1].copy() if may_flip and rng.random() < 0.5 else part.pixels
            loss = F.cross_entropy(model(_to_input(flipped)), torch.from_numpy(part.labels))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def _accuracy(model: nn.Module, part: Pictures) -> float:
    return float((_features(model, part.pixels).argmax(1) == part.labels).mean())


def _to_table(scores: list[Score]) -> pa.Table:
    table = pa.Table.from_pylist([asdict(score) for score in scores])
    said = {
        "train_count": TRAIN,
        "image_size": PIXELS,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "command": shlex.join(["python", *sys.argv]),
        "machine": f"{platform.machine()}, {platform.system()}, {torch.backends.cpu.get_cpu_capability()}",
        "commit": _commit(),
        "measured_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    for column, value in said.items():
        table = table.append_column(column, pa.array([value] * len(table)))
    return table


def _commit() -> str:
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40"], capture_output=True, text=True, check=False
    )
    return said.stdout.strip() if said.returncode == 0 else "not committed"


def _merge(file: Path, new: pa.Table) -> pa.Table:
    """The rows of `file` that `new` does not measure again, and `new`."""
    if not file.exists():
        return new
    done = {(row["data_set"], row["backbone"]) for row in new.select(["data_set", "backbone"]).to_pylist()}
    old = [row for row in pq.read_table(file).to_pylist() if (row["data_set"], row["backbone"]) not in done]
    return pa.concat_tables([pa.Table.from_pylist(old, schema=new.schema), new])


def markdown(table: pa.Table) -> str:
    """Mean test accuracy with the 95% interval over seeds (Student's t), and the paired gain over `random`."""
    rows = table.to_pylist()
    lines = ["| data | backbone | method | random | random, statistics measured | carried | gain over random |"]
    lines.append("|---|---|---|---|---|---|---|")
    for key in dict.fromkeys((row["data_set"], row["backbone"], row["method"]) for row in rows):
        arms: dict[str, dict[int, float]] = {}
        for row in rows:
            if (row["data_set"], row["backbone"], row["method"]) == key:
                arms.setdefault(row["weights"], {})[row["seed"]] = row["test_accuracy"]
        gain = [arms["carried"][seed] - value for seed, value in arms["random"].items()]
        cells = [_cell(list(arms.get(arm, {}).values())) for arm in PROBE_ARMS]
        lines.append("| " + " | ".join([*key, *cells, _cell(gain)]) + " |")
    return "\n".join(lines)


def _cell(values: list[float]) -> str:
    if len(values) < 2:
        return "-"
    half = student_t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return f"{np.mean(values):.3f} ± {half:.3f}"


if __name__ == "__main__":
    main()
