"""Two workers in fresh processes that do the same work, started once for all tests that need them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn
from torch.nn.modules.batchnorm import _BatchNorm

from raytl.data.store import FitData
from raytl.recipe import Recipe
from raytl.train.checkpoint import load_snapshot, save_snapshot
from raytl.train.final import read_test_set
from raytl.train.loop import Run
from raytl.train.world import World
from tests.tiny import figures, first, fitted, start, tiny_recipe

SIZE = 2
PATIENCE = timedelta(seconds=60)  # a worker whose partner has died gives up


@dataclass(frozen=True)
class Task:
    """What the workers compute: whole runs by name, and everything else on the first of them.

    Pictures of `data` lie in a store, those of `read` are decoded as they are read.
    """

    data: FitData
    recipes: Mapping[str, Recipe]
    interrupted: str
    batch_norm: Recipe
    checkpoints: Path
    read: FitData


def run_group(task: Task, folder: Path) -> list[dict[str, Any]]:
    """The results of each worker in order of rank."""
    torch.save(task, folder / "task.pt")
    spawn(_worker, args=(folder,), nprocs=SIZE)
    return [torch.load(folder / f"rank-{rank}.pt", weights_only=False) for rank in range(SIZE)]


def _worker(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    task: Task = torch.load(folder / "task.pt", weights_only=False)
    alone = fitted(tiny_recipe(dropout=0.2), task.data)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=SIZE, timeout=PATIENCE)
    world = World(rank, SIZE)
    results = {name: part(task, world) for name, part in PARTS.items()}
    torch.save({"alone": alone, **results}, folder / f"rank-{rank}.pt")
    dist.destroy_process_group()


def _rows(task: Task, world: World) -> dict[str, Any]:
    return {name: figures(start(recipe, task.data, world=world).epochs()) for name, recipe in task.recipes.items()}


def _continued(task: Task, world: World) -> list[dict[str, Any]]:
    """A run that stops after each epoch and goes on from what rank 0 has saved."""
    recipe, rows = task.recipes[task.interrupted], []
    run = start(recipe, task.data, world=world)
    while not run.finished:
        rows.append(next(run.epochs()))
        if world.is_main:
            save_snapshot(task.checkpoints, run.snapshot())
        dist.barrier()
        run = start(recipe, task.data, load_snapshot(task.checkpoints), world=world)
        dist.barrier()
    return figures(rows)


def _evaluations(task: Task, world: World) -> dict[int, Any]:
    """Counts and logits of sets of several sizes, by a model that all workers and the test can make."""
    run = start(tiny_recipe(), task.data, world=world)
    return {size: evaluated(run, size) for size in (1, 2, 3, 12, 13)}


def evaluated(run: Run, size: int) -> tuple[torch.Tensor, float, float, torch.Tensor]:
    """Confusion, macro F1, loss and logits on the first pictures of the validation set."""
    pictures = first(run.data.val, size)
    counts = run.evaluator.counts(run.model, pictures)
    return counts.confusion, counts.macro_f1, counts.mean_loss, run.evaluator.logits(run.model, pictures)


def _gathers(task: Task, world: World) -> list[torch.Tensor]:
    """Rows whose number differs between workers; the second worker has none of the last."""
    shares = [(3, 2), (1, 2), (2, 0)]
    return [world.gather(torch.arange(share[world.rank] * 2.0).view(-1, 2) + 10 * world.rank) for share in shares]


def _batch_norm(task: Task, world: World) -> dict[str, Any]:
    """After training with batch-norm: the last row, and what the best model measures on rank 0 alone."""
    run = start(task.batch_norm, task.data, world=world)
    rows = list(run.epochs())
    assert any(isinstance(module, _BatchNorm) for module in run.model.modules())
    final = read_test_set(run)
    alone = start(task.batch_norm, task.data)
    alone.model.load_state_dict(run.course.best.tensors, strict=False)
    counts = alone.evaluator.counts(alone.model, task.data.val)
    best = next(row for row in rows if row.epoch == run.course.best.epoch)
    return {
        "row": figures([best])[0],
        "alone": (counts.accuracy, counts.macro_f1, counts.mean_loss),
        "test": (final.accuracy, final.loss, final.probabilities),
        "test_alone": alone.evaluator.counts(alone.model, task.data.test).mean_loss,
    }


def _read(task: Task, world: World) -> list[dict[str, Any]]:
    return figures(start(tiny_recipe(batch_size=5, augment="crop"), task.read, world=world).epochs())


PARTS: dict[str, Callable[[Task, World], Any]] = {
    "rows": _rows,
    "read": _read,
    "continued": _continued,
    "evaluations": _evaluations,
    "gathers": _gathers,
    "batch_norm": _batch_norm,
}
