"""Makes the weights of the three carried backbones from pictures drawn by formula, with ImageNet features as teacher.

    python experiments/pretrain_carried.py --teacher DIR [--only tiny_vit] [--cache made.npz]

DIR holds `mobilenetv2_100.safetensors`: ImageNet weights for timm's model of that name (Apache-2.0; ours derive from a
published 8-bit TensorFlow model). Each student sees 64 px; the teacher sees the same picture at 128 px. A student
learns three things at once: the teacher's pooled features, its features at each place (both through throwaway
linear layers), and the class of the picture where it has one. Without `--teacher` only the classes are learned.

Hardware: two x86 cores with AVX512-BF16, 4 GB of memory, no GPU. Of one core's time: 6 minutes to draw 36,000 pictures
and ask the teacher, 5 for tiny_resnet, 5 for tiny_mobilenet, 8 for tiny_vit. Seeds are fixed: the pictures come out the
same to the byte, the weights up to rounding. Expected last losses (pooled, grid, classes): tiny_resnet 0.247, 0.250,
0.833; tiny_mobilenet 0.262, 0.269, 1.579; tiny_vit 0.265, 0.338, 1.745. What the weights are worth is measured by
`experiments/benchmarks/carried_weights.py`; no target set is looked at here.
"""

import argparse
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from made_pictures import NO_CLASS, class_count, make_picture, may_flip
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from raytl.models.carried import CARRIED, carried_weights_path, create_carried

SEED = 20
PIXELS = 64
TEACHER_GRID = 4  # the teacher's last map at 128 px is 4x4
_CHUNK = 250


@dataclass(frozen=True)
class Schedule:
    """How a student is trained; epochs and rates are chosen, so that each takes four to eight minutes on one core."""

    epochs: int
    lr: float
    batch_size: int = 128
    weight_decay: float = 0.05
    warmup_share: float = 0.1
    bfloat16: bool = False  # measured, with AVX512-BF16: resnet 1.8 times as fast, vit 1.25, mobilenet 0.6


SCHEDULES = {
    "tiny_mobilenet": Schedule(epochs=5, lr=2e-3),
    "tiny_resnet": Schedule(epochs=7, lr=2e-3, bfloat16=True),
    "tiny_vit": Schedule(epochs=5, lr=1.5e-3, bfloat16=True),
}


@dataclass(frozen=True)
class MadeSet:
    """Made pictures with what the teacher says of them (empty arrays where there is no teacher)."""

    pictures: NDArray[np.uint8]  # (N, 64, 64, 3)
    labels: NDArray[np.int64]  # (N,), NO_CLASS where it has none
    pooled: NDArray[np.float16]  # (N, 1280), standardized
    grid: NDArray[np.float16]  # (N, 320, 4, 4), standardized

    @property
    def has_teacher(self) -> bool:
        return len(self.pooled) > 0


def main() -> None:
    options = _parse()
    torch.set_num_threads(options.threads)
    made = _load_or_make(options)
    for name in options.only or CARRIED:
        train_student(name, made, options.epochs or SCHEDULES[name].epochs)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--teacher", type=Path, help="folder with mobilenetv2_100.safetensors")
    parser.add_argument("--pictures", type=int, default=36_000)
    parser.add_argument("--cache", type=Path, help="file (.npz) to keep the made pictures and features in")
    parser.add_argument("--only", action="append", choices=list(CARRIED))
    parser.add_argument("--epochs", type=int, help="instead of the schedule's own")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


# --- pictures and teacher ----------------------------------------------------------------------------------------


def _load_or_make(options: argparse.Namespace) -> MadeSet:
    if options.cache and options.cache.exists():
        with np.load(options.cache) as arrays:
            return MadeSet(**arrays)
    made = make_set(options.pictures, options.teacher)
    if options.cache:
        np.savez(options.cache, **vars(made))
    return made


def make_set(count: int, teacher_folder: Path | None) -> MadeSet:
    """Draw `count` pictures in a second process while this one asks the teacher about them."""
    teacher = _teacher(teacher_folder) if teacher_folder else None
    pictures, labels, pooled, grid = [], [], [], []
    starts = range(0, count, _CHUNK)
    with ProcessPoolExecutor(1) as workers:
        for small, large, label in workers.map(_draw_chunk, starts):
            pictures.append(small)
            labels.append(label)
            if teacher is not None:
                features = _ask(teacher, large)
                pooled.append(features[0])
                grid.append(features[1])
            print(f"made {sum(map(len, labels))} of {count}", flush=True)
    none = [np.zeros((0, 1), np.float16)]
    return MadeSet(
        np.concatenate(pictures)[:count],
        np.concatenate(labels)[:count],
        _standardize(np.concatenate(pooled or none)[:count], (0,)),
        _standardize(np.concatenate(grid or none)[:count], (0, 2, 3) if grid else (0,)),
    )


def _draw_chunk(start: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int64]]:
    made = [make_picture(SEED, index) for index in range(start, start + _CHUNK)]
    small = [np.asarray(picture.resize((PIXELS, PIXELS), Image.Resampling.BOX)) for picture, _ in made]
    return np.stack(small), np.stack([np.asarray(p) for p, _ in made]), np.array([label for _, label in made])


def _teacher(folder: Path) -> Any:  # timm gives its models no types
    model = timm.create_model("mobilenetv2_100")
    model.load_state_dict(load_file(folder / "mobilenetv2_100.safetensors"))
    return model.eval().to(memory_format=torch.channels_last)


@torch.inference_mode()
def _ask(teacher: Any, pictures: NDArray[np.uint8]) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    """The teacher's pooled features (N, 1280) and its last block's map (N, 320, 4, 4)."""
    pooled, grid = [], []
    for part in np.array_split(pictures, len(pictures) // 50):
        x = teacher.bn1(teacher.conv_stem(_to_input(torch.from_numpy(part))))
        blocks = teacher.blocks(x)
        pooled.append(teacher.bn2(teacher.conv_head(blocks)).mean((2, 3)).half().numpy())
        grid.append(blocks.half().numpy())
    return np.concatenate(pooled), np.concatenate(grid)


def _standardize(values: NDArray[np.float16], axes: tuple[int, ...]) -> NDArray[np.float16]:
    if not len(values):
        return values
    sample = values[:5000].astype(np.float32)
    mean, std = sample.mean(axes, keepdims=True), sample.std(axes, keepdims=True) + 1e-3
    return np.concatenate([((part - mean) / std).astype(np.float16) for part in np.array_split(values, 40)])


def _to_input(pictures: torch.Tensor) -> torch.Tensor:
    """(B, H, W, 3) uint8 to (B, 3, H, W) from -1 to 1, channels last in memory."""
    return pictures.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


# --- student -----------------------------------------------------------------------------------------------------


class Student(nn.Module):
    """A carried backbone with the throwaway layers that speak to the teacher and name the classes."""

    def __init__(self, backbone: Any, is_vit: bool) -> None:
        super().__init__()
        self.backbone: Any = backbone
        self.is_vit = is_vit
        with torch.no_grad():
            places, features = self._look(torch.zeros(2, 3, PIXELS, PIXELS))
        self.to_pooled = nn.Linear(features.shape[1], 1280)
        self.to_grid = nn.Conv2d(places.shape[1], 320, 1)
        self.to_class = nn.Linear(features.shape[1], class_count())

    def _look(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The backbone's last map (B, C, G, G), at most 4x4, and its features (B, C)."""
        last = self.backbone.forward_features(x)
        features = self.backbone.forward_head(last)
        if self.is_vit:
            side = int(last.shape[1] ** 0.5)
            last = last.transpose(1, 2).unflatten(2, (side, side))
        if last.shape[-1] > TEACHER_GRID:
            last = F.adaptive_avg_pool2d(last, TEACHER_GRID)
        return last, features

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        places, features = self._look(x)
        return self.to_pooled(features), self.to_grid(places), self.to_class(features)


def train_student(name: str, made: MadeSet, epochs: int) -> None:
    """Train the carried backbone `name` and write its file after every epoch."""
    torch.manual_seed(SEED)
    plan = SCHEDULES[name]
    is_vit = CARRIED[name].architecture.startswith("vit")
    student = Student(create_carried(name), is_vit).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(student.parameters(), plan.lr, weight_decay=plan.weight_decay)
    steps = epochs * (len(made.labels) // plan.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, plan.lr, total_steps=steps, pct_start=plan.warmup_share, cycle_momentum=False
    )
    rng = np.random.default_rng([SEED, sum(map(ord, name))])
    for epoch in range(1, epochs + 1):
        student.train()
        losses = []
        for where in _batches(len(made.labels), plan.batch_size, rng):
            with torch.autocast("cpu", torch.bfloat16, enabled=plan.bfloat16):
                loss = _loss(student, made, where, rng)
            optimizer.zero_grad()
            loss.sum().backward()
            nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.detach())
        pooled, grid, classes = torch.stack(losses).mean(0).tolist()
        print(f"{name} {epoch}/{epochs}: pooled {pooled:.3f} grid {grid:.3f} classes {classes:.3f}", flush=True)
        _save(student.backbone, carried_weights_path(name))


def _batches(count: int, size: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    order = rng.permutation(count)
    yield from (order[start : start + size] for start in range(0, count - size + 1, size))


def _loss(student: Student, made: MadeSet, where: NDArray[np.int64], rng: np.random.Generator) -> torch.Tensor:
    """Three losses of one batch: (pooled, grid, classes)."""
    labels = made.labels[where]
    flipped = torch.from_numpy((rng.random(len(where)) < 0.5) & may_flip(labels))
    pictures = torch.from_numpy(_shift(made.pictures[where], rng))
    pictures = torch.where(flipped[:, None, None, None], pictures.flip(2), pictures)
    pooled, grid, logits = student(_to_input(pictures))
    classes = F.cross_entropy(logits, torch.from_numpy(labels), ignore_index=NO_CLASS)
    if not made.has_teacher:
        return torch.stack([torch.zeros(()), torch.zeros(()), classes])
    target = torch.from_numpy(made.pooled[where]).float()
    places = torch.from_numpy(made.grid[where]).float()
    places = torch.where(flipped[:, None, None, None], places.flip(3), places)
    places = F.adaptive_avg_pool2d(places, grid.shape[-1])
    return torch.stack([F.smooth_l1_loss(pooled, target), F.smooth_l1_loss(grid, places), 0.5 * classes])


def _shift(pictures: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Move the whole batch by up to four pixels, edges repeated."""
    x, y = rng.integers(-4, 5, 2)
    rows = np.clip(np.arange(PIXELS) + y, 0, PIXELS - 1)
    columns = np.clip(np.arange(PIXELS) + x, 0, PIXELS - 1)
    return pictures[:, rows][:, :, columns]


def _save(backbone: nn.Module, path: Path) -> None:
    """Write float16 tensors (integers as they are); the file appears whole or not at all."""
    state = backbone.state_dict()
    tensors = {key: (v.half() if v.is_floating_point() else v).contiguous() for key, v in state.items()}
    partial_file = path.with_suffix(".tmp")
    save_file(tensors, partial_file)
    partial_file.chmod(0o644)
    partial_file.replace(path)


if __name__ == "__main__":
    main()
