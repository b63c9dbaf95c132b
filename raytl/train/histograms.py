"""Histograms of a model's weights, stage by stage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from raytl.models.classifier import Classifier
from raytl.models.stages import parameter_groups
from raytl.results.histogram import Histogram, histogram


def weight_histograms(model: Classifier) -> tuple[Histogram, ...]:
    """One for each stage that is trained and for the head, over all their parameters, as far as they are finite."""
    found = (histogram(name, _values(parameters)) for name, parameters in parameter_groups(model))
    return tuple(each for each in found if each is not None)


def _values(parameters: Sequence[nn.Parameter]) -> np.ndarray:
    return torch.cat([value.detach().flatten().float().cpu() for value in parameters]).numpy()
