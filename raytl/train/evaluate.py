"""Looking at pictures with a model: sums over all workers, divided once; every picture counted exactly once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from raytl.data.store import PictureSet
from raytl.data.views import View
from raytl.models.classifier import Classifier
from raytl.train.device import Precision
from raytl.train.inputs import FixedView, Inputs, ahead
from raytl.train.losses import evaluation_sums
from raytl.train.metrics import Counts
from raytl.train.sampling import eval_shares
from raytl.train.world import World

BATCH = 64  # chosen: large enough to keep two cores or a GPU busy, small enough for any backbone at 300 pixels


@dataclass(frozen=True)
class Evaluator:
    """How pictures are shown to a model when nothing is learned; `loss` names what its logits were trained with."""

    view: View
    world: World
    precision: Precision
    class_count: int
    loss: str

    def counts(self, model: Classifier, pictures: PictureSet, stored: Inputs | None = None) -> Counts:
        """Confusion, loss and weight summed over all pictures and workers; `stored` spares the model its prefix."""
        total = Counts.zeros(self.class_count)
        inputs = stored or FixedView(pictures, self.view)
        shares = eval_shares(len(pictures), BATCH, self.world.rank, self.world.size)
        with torch.inference_mode(), ahead(inputs, shares, 1) as coming:
            for share in coming:
                logits = self._logits(model, inputs, share)
                labels = pictures.labels[share].to(logits.device)
                sums = evaluation_sums(logits, labels, self.loss)
                total = total + Counts.of(logits, labels, self.class_count, sums)
        packed = self.world.sum(total.pack().to(self.world.device))
        return Counts.unpack(packed.cpu(), self.class_count)

    def logits(self, model: Classifier, pictures: PictureSet, stored: Inputs | None = None) -> Tensor:
        """Logits `(N, K)` float32 of every picture in the set's order, on every worker; `stored` as in `counts`."""
        rows, indices = [], []
        inputs = stored or FixedView(pictures, self.view)
        shares = eval_shares(len(pictures), BATCH, self.world.rank, self.world.size)
        with torch.inference_mode(), ahead(inputs, shares, 1) as coming:
            for share in coming:
                rows.append(self._logits(model, inputs, share))
                indices.append(torch.as_tensor(share, dtype=torch.int64, device=self.world.device))
            if not rows:  # fewer pictures than workers: this one still takes part in the gathering
                rows = [self._logits(model, inputs, np.array([0]))[:0]]
                indices = [torch.zeros(0, dtype=torch.int64, device=self.world.device)]
            values = self.world.gather(torch.cat(rows))
            order = self.world.gather(torch.cat(indices))
        return values[order.argsort()].cpu()

    def _logits(self, model: Classifier, inputs: Inputs, share: np.ndarray) -> Tensor:
        model.eval()
        batch = inputs.batch(share, 1).to(self.world.device, non_blocking=True)
        with self.precision.autocast():
            logits = model.suffix(batch, inputs.depth)
        return logits.float()
