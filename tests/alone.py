"""A head trained alone by torch's own parts, in a loop written by hand: what trains many heads must agree with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from raytl.models.heads import make_head
from raytl.recipe import Recipe
from raytl.train.ema import Ema
from raytl.train.losses import make_loss

FEATURES, ROWS, BATCH = 6, 22, 8


@dataclass(frozen=True)
class Pictures:
    """Features and labels that a head can learn a part of."""

    classes: int = 3
    dtype: torch.dtype = torch.float64

    @property
    def features(self) -> Tensor:
        noise = torch.randn(ROWS, FEATURES, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
        return (noise + F.one_hot(self.labels, FEATURES)).to(self.dtype)

    @property
    def labels(self) -> Tensor:
        return torch.arange(ROWS) % (self.classes + 1) % self.classes

    @property
    def counts(self) -> list[int]:
        return torch.bincount(self.labels).tolist()

    def batches(self, epoch: int) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Number, features and labels of each batch, the last one short."""
        order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(epoch))
        for step, rows in enumerate(order.split(BATCH)):
            yield step, self.features[rows], self.labels[rows]


def outputs_of(recipe: Recipe, pictures: Pictures) -> int:
    return 1 if recipe.loss == "bce" and pictures.classes == 2 else pictures.classes


def first_head(recipe: Recipe, pictures: Pictures, seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return make_head(recipe.parsed_head, FEATURES, outputs_of(recipe, pictures), recipe.dropout).to(pictures.dtype)


def noise_of(epoch: int) -> torch.Generator:
    return torch.Generator().manual_seed(100 + epoch)


def factor(recipe: Recipe, epoch: int, step: int) -> float:
    """Stands for a schedule, which differs between recipes."""
    return 1 / (1 + 0.1 * (3 * epoch + step) * 100 * recipe.lr)


@dataclass
class Alone:
    """One head and torch's own loss, optimizer and clipping, in a loop."""

    recipe: Recipe
    pictures: Pictures
    seed: int = 0
    curve: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.head = first_head(self.recipe, self.pictures, self.seed)
        self.optimizer = self.make_optimizer()
        self.ema = Ema(self.head, self.recipe.ema_decay)
        self.weights = make_loss(self.recipe, self.pictures.counts).class_weights

    def make_optimizer(self) -> Optimizer:
        matrices = [value for value in self.head.parameters() if value.ndim == 2]
        vectors = [value for value in self.head.parameters() if value.ndim == 1]
        groups: list[dict[str, Any]] = [
            {"params": matrices, "weight_decay": self.recipe.weight_decay},
            {"params": vectors},
        ]
        lr, momentum = self.recipe.lr, self.recipe.momentum
        make: dict[str, Callable[[], Optimizer]] = {
            "adamw": lambda: AdamW(groups, lr=lr, weight_decay=0.0),
            "adam": lambda: Adam(groups, lr=lr),
            "sgd": lambda: SGD(groups, lr=lr, momentum=momentum, nesterov=momentum > 0),
            "rmsprop": lambda: RMSprop(groups, lr=lr),
        }
        return make[self.recipe.optimizer]()

    def train(self, epochs: range) -> Alone:
        for epoch in epochs:
            noise, total, weight = noise_of(epoch), 0.0, 0.0
            for step, x, labels in self.pictures.batches(epoch):
                mean = self.mean_loss(self.logits(x, noise), labels)
                self.step(mean, factor(self.recipe, epoch, step))
                total, weight = total + float(mean.detach()) * self.weight(labels), weight + self.weight(labels)
            self.curve.append(total / weight)
        return self

    def step(self, mean: Tensor, factor: float) -> None:
        self.optimizer.zero_grad()
        mean.backward()
        if self.recipe.clip_norm is not None:
            clip_grad_norm_(self.head.parameters(), self.recipe.clip_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.lr * self.recipe.head_lr_scale * factor
        self.optimizer.step()
        self.ema.update()

    def logits(self, x: Tensor, noise: torch.Generator) -> Tensor:
        for layer in self.head:
            if isinstance(layer, nn.Dropout) and self.recipe.dropout:
                drawn = torch.rand(x.shape, generator=noise, dtype=x.dtype)
                x = x * (drawn >= self.recipe.dropout) / (1 - self.recipe.dropout)
            elif not isinstance(layer, nn.Dropout):
                x = layer(x)
        return x

    def weight(self, labels: Tensor) -> float:
        return len(labels) if self.weights is None else float(self.weights[labels].sum())

    def mean_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        smoothing, classes = self.recipe.label_smoothing, self.pictures.classes
        weights = torch.ones(classes).to(logits) if self.weights is None else self.weights.to(logits)
        if self.recipe.loss == "cross_entropy":
            return F.cross_entropy(logits, labels, weight=weights, label_smoothing=smoothing)
        targets = F.one_hot(labels, classes).to(logits) * (1 - smoothing) + smoothing / classes
        if self.recipe.loss == "focal":
            shares = logits.softmax(-1)
            rows = -(weights * targets * (1 - shares) ** self.recipe.focal_gamma * shares.log()).sum(-1)
            return rows.sum() / weights[labels].sum()
        if logits.shape[-1] == 1:
            rows = -(weights * targets * torch.cat([F.logsigmoid(-logits), F.logsigmoid(logits)], -1)).sum(-1)
        else:
            rows = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(-1) * weights[labels]
        return rows.sum() / weights[labels].sum()

    def evaluated(self) -> Tensor:
        self.head.eval()
        with self.ema.applied(), torch.no_grad():
            logits = self.head(self.pictures.features)
        assert isinstance(logits, Tensor)
        return logits
