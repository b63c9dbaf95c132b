"""Pictures of a final model's results, as PNG files in memory."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COUNTED_CLASSES = 25  # chosen: above it numbers in the cells are too small to read, so colours alone are shown
NAMED_CLASSES = 60  # chosen: above it names on the axes overlap
COLUMNS = 4  # chosen


def confusion_png(labels: Sequence[str], predicted: Sequence[str], classes: Sequence[str]) -> bytes:
    """How often pictures of each class (rows) were taken for each class (columns); the shade is the share of a row.

    Raises:
        ValueError: `labels` and `predicted` differ in length.
    """
    counts = confusion_counts(labels, predicted, classes)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(max(3.0, 0.45 * len(classes)), 14.0)
    figure = Figure(figsize=(side + 1.5, side + 1.0), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="true")
    if len(classes) <= NAMED_CLASSES:
        axes.set_xticks(range(len(classes)), [_plain(name) for name in classes], rotation=90)
        axes.set_yticks(range(len(classes)), [_plain(name) for name in classes])
    if len(classes) <= COUNTED_CLASSES:
        for (row, column), count in np.ndenumerate(counts):
            shade = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=shade)
    return _png(figure)


def confusion_counts(labels: Sequence[str], predicted: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """(K, K) counts: true class by row, predicted class by column, in the order of `classes`."""
    index = {name: position for position, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    for label, guess in zip(labels, predicted, strict=True):
        counts[index[label], index[guess]] += 1
    return counts


def mistakes_png(pictures: Sequence[tuple[np.ndarray, str]]) -> bytes:
    """Pictures, each (H, W, 3) uint8 with its caption, in rows of four; one sentence where there are none."""
    rows = max(1, math.ceil(len(pictures) / COLUMNS))
    figure = Figure(figsize=(2.6 * COLUMNS, 3.0 * rows), layout="constrained")
    for position, (picture, caption) in enumerate(pictures):
        axes = figure.add_subplot(rows, COLUMNS, position + 1)
        axes.imshow(picture)
        axes.set_title(_plain(caption), fontsize=9, wrap=True)
        axes.axis("off")
    if not pictures:
        figure.text(0.5, 0.5, "no mistakes", ha="center", va="center")
    return _png(figure)


def _plain(text: str) -> str:
    """Text that matplotlib does not take for a formula."""
    return text.replace("$", r"\$")


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    FigureCanvasAgg(figure).print_png(file)
    return file.getvalue()
