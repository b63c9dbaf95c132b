"""A loaded model as a server uses it: picture files to pixels, pixels to classes and heat maps.

Decoded, resized and computed as `raytl predict` does, so that both say the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raytl.data.decode import DecodeError, UnknownKindError, decode, resize_shorter
from raytl.errors import ConfigError
from raytl.use.ensemble import LoadedEnsemble, Sizes
from raytl.use.explain import heat_pngs
from raytl.use.export import LoadedModel
from raytl.use.predict import classify
from raytl.use.sight import Box, HeatMap, Sight

GREY = 128


@dataclass(frozen=True, eq=False)
class Opened:
    """A picture as the model takes it, at each of its sides; `box` is what it sees, of an ensemble its first member."""

    sizes: Sizes
    box: Box


@dataclass(frozen=True)
class Viewer:
    """Opens, classifies and explains. One thread at a time may ask the model; any number may open pictures."""

    loaded: LoadedModel | LoadedEnsemble
    most_pixels: int

    def open(self, data: bytes) -> Opened | Sight:
        """A picture file's pixels, or an answer that says why there are none."""
        try:
            image = decode(data, self.most_pixels)
        except DecodeError as error:
            return Sight(problem=str(error), known_kind=not isinstance(error, UnknownKindError))
        lead = self.loaded.members[0] if isinstance(self.loaded, LoadedEnsemble) else self.loaded
        share = min(1.0, lead.input.image_size / lead.eval_resize) * min(image.size)
        width, height = share / image.width, share / image.height
        sizes = tuple(resize_shorter(image, side) for side in self.loaded.sides)
        return Opened(sizes, ((1 - width) / 2, (1 - height) / 2, width, height))

    def classify(self, pictures: Sequence[Opened]) -> list[Sight]:
        """All pictures at once."""
        named = classify(self.loaded, [picture.sizes for picture in pictures])
        return [Sight(predicted, probabilities, batch=len(pictures)) for predicted, probabilities in named]

    def explain(self, pictures: Sequence[Opened], classes: Sequence[str]) -> list[HeatMap | str]:
        """A heat map of each picture for its class, or why this model has none."""
        try:
            pngs = heat_pngs(self.loaded, [picture.sizes[0] for picture in pictures], classes)
        except ConfigError as error:
            return [str(error)] * len(pictures)
        return [HeatMap(png, picture.box) for png, picture in zip(pngs, pictures, strict=True)]

    def drawn(self) -> Opened:
        """A grey picture, to see that the model answers."""
        sizes = tuple(np.full((side, side, 3), GREY, np.uint8) for side in self.loaded.sides)
        return Opened(sizes, (0.0, 0.0, 1.0, 1.0))
