"""Pictures of a final model's results, as PNG files in memory."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

COUNTED_CLASSES = 25  # chosen: above it numbers in the cells are too small to read, so colours alone are shown
NAMED_CLASSES = 60  # chosen: above it names on the axes overlap
COLUMNS = 4  # chosen
HEAT_COLOURS, HEAT_OPACITY = "turbo", 0.6  # chosen: the picture stays visible below the hottest places
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as Pillow makes grey
# Pixels, chosen: four pairs are as wide as the report, and a caption of two lines fits above each.
SHOWN_SIDE, GAP, DPI = 134, 5, 100
PAIR_WIDTH, PAIR_HEIGHT = 2 * SHOWN_SIDE + 3 * GAP, SHOWN_SIDE + 45
JPEG_QUALITY = 85  # chosen: no artefact is seen in captions
CAPTION_LETTERS = 40  # of nine points, in the width of a pair


def confusion_png(labels: Sequence[str], predicted: Sequence[str], classes: Sequence[str]) -> bytes:
    """How often pictures of each class (rows) were taken for each class (columns); the shade is the share of a row.

    Raises:
        ValueError: `labels` and `predicted` differ in length.
    """
    side = min(max(3.0, 0.45 * len(classes)), 14.0)
    figure = Figure(figsize=(side + 1.5, side + 1.0), layout="constrained")
    draw_confusion(figure.add_subplot(), confusion_counts(labels, predicted, classes), classes)
    return _png(figure)


def draw_confusion(axes: Axes, counts: np.ndarray, classes: Sequence[str]) -> None:
    """Draws (K, K) counts of `classes`, true by row and predicted by column; the shade is the share of a row."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="true")
    if len(classes) <= NAMED_CLASSES:
        axes.set_xticks(range(len(classes)), [no_formula(name) for name in classes], rotation=90)
        axes.set_yticks(range(len(classes)), [no_formula(name) for name in classes])
    if len(classes) <= COUNTED_CLASSES:
        for (row, column), count in np.ndenumerate(counts):
            shade = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=shade)


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
        axes.set_title(no_formula(caption), fontsize=9, wrap=True)
        axes.axis("off")
    if not pictures:
        figure.text(0.5, 0.5, "no mistakes", ha="center", va="center")
    return _png(figure)


def heat_png(pictures: Sequence[tuple[np.ndarray, np.ndarray, str]], otherwise: str) -> bytes:
    """Square pictures (S, S, 3) uint8, each with its heat map (S, S) from 0 to 1 and its caption: four pairs of a
    picture and its overlay in a row; the sentence `otherwise` where there are none.
    """
    rows = max(1, math.ceil(len(pictures) / COLUMNS))
    canvas = np.full((rows * PAIR_HEIGHT, COLUMNS * PAIR_WIDTH, 3), 255, np.uint8)
    figure = Figure(figsize=(canvas.shape[1] / DPI, canvas.shape[0] / DPI), dpi=DPI)
    for position, (picture, heat, caption) in enumerate(pictures):
        row, column = divmod(position, COLUMNS)
        top, left = row * PAIR_HEIGHT + PAIR_HEIGHT - SHOWN_SIDE - GAP, column * PAIR_WIDTH + GAP
        for square in (picture, overlay(picture, heat)):
            canvas[top : top + SHOWN_SIDE, left : left + SHOWN_SIDE] = _shown(square)
            left += SHOWN_SIDE + GAP
        across = (column + 0.5) / COLUMNS
        figure.text(across, 1 - (top - GAP) / len(canvas), _two_lines(caption), ha="center", va="bottom", fontsize=9)
    if pictures:
        figure.figimage(canvas)
    else:
        figure.text(0.5, 0.5, textwrap.fill(no_formula(otherwise), 120), ha="center", va="center")
    return _png(figure)


def overlay(picture: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) uint8 under a heat map (H, W) from 0 to 1, as (H, W, 3) uint8.

    The picture is made grey, so that every colour is the map's: from blue by green to red, the stronger the hotter.
    """
    grey = (picture @ LUMA)[..., None]
    colours = colormaps[HEAT_COLOURS](heat)[..., :3] * 255
    opacity = HEAT_OPACITY * np.sqrt(heat)[..., None]
    blended: np.ndarray = (grey * (1 - opacity) + colours * opacity).round().astype(np.uint8)
    return blended


def smaller(png: bytes) -> bytes:
    """A picture of pictures as JPEG, for a page that holds several: measured a sixth of the bytes."""
    file = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()


def _shown(square: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(square).resize((SHOWN_SIDE, SHOWN_SIDE), Image.Resampling.BILINEAR))


def _two_lines(caption: str) -> str:
    return no_formula(textwrap.fill(caption, CAPTION_LETTERS, max_lines=2, placeholder=" …"))


def no_formula(text: str) -> str:
    """Text that matplotlib does not take for a formula."""
    return text.replace("$", r"\$")


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    FigureCanvasAgg(figure).print_png(file)
    return file.getvalue()
