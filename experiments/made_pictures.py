"""Pictures made by formula for `pretrain_carried.py`: things, letters, textures, fractals, dead leaves and scribbles.

`make_picture(seed, index)` gives a picture of `SIZE` pixels and its class (or `NO_CLASS`). The classes are the things
of `made_shapes`, letters of bundled fonts, kinds of texture and fractals; letters that look like digits are left out.
"""

import string
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from made_shapes import SHAPES, Rng, rotation
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

SIZE = 128
NO_CLASS = -1
LETTERS = "".join(sorted(set(string.ascii_letters + "+=<>?!&#@%") - set("OoIlQDSsZzBbgqij")))
FONTS: tuple[str, ...] = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSerif", "DejaVuSerif-BoldItalic"),
    *("DejaVuSansMono", "DejaVuSansMono-BoldOblique"),
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
)
FRACTALS = 24
Field = NDArray[np.float32]  # (SIZE, SIZE) from 0 to 1

_GRID_Y, _GRID_X = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) / SIZE


def class_count() -> int:
    return len(SHAPES) + len(LETTERS) + len(_TEXTURES) + FRACTALS


def may_flip(label: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Whether a picture of this class still is one when mirrored: all but letters."""
    return (label < len(SHAPES)) | (label >= len(SHAPES) + len(LETTERS))


def make_picture(seed: int, index: int) -> tuple[Image.Image, int]:
    """One RGB picture of `SIZE` pixels and its class."""
    rng = np.random.default_rng([seed, index])
    source = rng.choice(6, p=[0.42, 0.26, 0.10, 0.06, 0.09, 0.07])
    canvas, label = (_things, _letter, _texture, _fractal, _dead_leaves, _scribble)[source](rng)
    return _photograph(canvas, rng), label


def _palette(rng: Rng, count: int) -> NDArray[np.float32]:
    """`count` colors (RGB, 0 to 255): muted or vivid, related or not."""
    base, spread = rng.uniform(20, 235, 3), rng.uniform(25, 110)
    colors = base + rng.normal(0, spread, (count, 3))
    grey = colors.mean(1, keepdims=True)
    return np.clip(grey + (colors - grey) * rng.uniform(0.2, 1.1), 0, 255).astype(np.float32)


def _tuple(color: NDArray[np.float32]) -> tuple[int, int, int]:
    red, green, blue = (int(channel) for channel in np.clip(color, 0, 255))
    return red, green, blue


def _stretch(values: NDArray[np.floating]) -> Field:
    low, high = values.min(), values.max()
    return ((values - low) / max(float(high - low), 1e-6)).astype(np.float32)


def _noise(cells: int, rng: Rng) -> Field:
    small = Image.fromarray(rng.random((cells, cells), dtype=np.float32))
    return np.asarray(small.resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def _octaves(rng: Rng) -> Field:
    first = int(rng.integers(2, 6))
    fall = rng.uniform(0.4, 0.9)
    return _stretch(np.sum([_noise(first * 2**k, rng) * fall**k for k in range(5)], axis=0))


def _ridges(rng: Rng) -> Field:
    return _stretch(1 - np.abs(2 * _octaves(rng) - 1) ** 0.6)


def _along(rng: Rng, low: float, high: float) -> NDArray[np.float32]:
    angle, waves = rng.uniform(0, np.pi), rng.uniform(low, high)
    return (waves * (np.cos(angle) * _GRID_X + np.sin(angle) * _GRID_Y)).astype(np.float32)


def _stripes(rng: Rng) -> Field:
    return _stretch(np.sin(2 * np.pi * (_along(rng, 3, 16) + rng.uniform(0, 1.5) * _noise(4, rng))))


def _checks(rng: Rng) -> Field:
    angle, waves = rng.uniform(0, np.pi), rng.uniform(2, 10)
    turned = np.tensordot(rotation(angle), np.stack([_GRID_X, _GRID_Y]), 1) * waves
    return (np.floor(turned).sum(0) % 2).astype(np.float32)


def _dots(rng: Rng) -> Field:
    angle, waves = rng.uniform(0, np.pi), rng.uniform(3, 12)
    turned = np.tensordot(rotation(angle), np.stack([_GRID_X, _GRID_Y]), 1) * waves
    return (((turned % 1 - 0.5) ** 2).sum(0) < rng.uniform(0.03, 0.15)).astype(np.float32)


def _wood(rng: Rng) -> Field:
    center = rng.uniform(-0.5, 1.5, 2)
    far = np.hypot(_GRID_X - center[0], _GRID_Y - center[1]) + rng.uniform(0.02, 0.3) * _noise(5, rng)
    return _stretch(np.sin(2 * np.pi * rng.uniform(4, 14) * far))


def _cells(rng: Rng) -> Field:
    points = rng.random((int(rng.integers(8, 50)), 2), dtype=np.float32)
    step = _GRID_X[0, ::2]
    far = np.sort((step[:, None, None] - points[:, 0]) ** 2 + (step[None, :, None] - points[:, 1]) ** 2, axis=-1)
    chosen = np.sqrt(far[..., 0]) if rng.random() < 0.5 else np.sqrt(far[..., 1]) - np.sqrt(far[..., 0])
    return np.asarray(Image.fromarray(_stretch(chosen)).resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def _bricks(rng: Rng) -> Field:
    rows = int(rng.integers(4, 12))
    row = np.floor(_GRID_Y * rows)
    across = (_GRID_X * rows / rng.uniform(1.5, 3) + 0.5 * (row % 2)) % 1
    return ((across > 0.08) & (_GRID_Y * rows % 1 > 0.12)).astype(np.float32) * (0.7 + 0.3 * _noise(16, rng))


def _speckle(rng: Rng) -> Field:
    return _stretch(np.clip(_noise(int(rng.integers(20, 90)), rng), 0, 1) ** rng.uniform(1, 5))


def _ramp(rng: Rng) -> Field:
    return _stretch(_along(rng, 1, 1) + rng.uniform(0, 0.6) * _noise(3, rng))


_TEXTURES = (_octaves, _ridges, _stripes, _checks, _dots, _wood, _cells, _bricks, _speckle, _ramp)
_BACKGROUND_ODDS = np.array([5, 1, 1, 0.4, 0.4, 1, 1, 0.4, 1.5, 4]) / 15.7


def _paint(field: Field, rng: Rng) -> NDArray[np.float32]:
    """Color a field by two or three colors: (SIZE, SIZE, 3)."""
    colors = _palette(rng, 3)
    if rng.random() < 0.5:
        return colors[0] + field[..., None] * (colors[1] - colors[0])
    up = np.clip(2 * field, 0, 1)[..., None]
    return colors[0] + up * (colors[1] - colors[0]) + np.clip(2 * field - 1, 0, 1)[..., None] * (colors[2] - colors[1])


@cache
def _background_fields() -> list[Field]:
    rng = np.random.default_rng(7)
    return [_TEXTURES[rng.choice(len(_TEXTURES), p=_BACKGROUND_ODDS)](rng) for _ in range(400)]


def _background(rng: Rng) -> Image.Image:
    fields = _background_fields()
    field = np.rot90(fields[rng.integers(len(fields))], int(rng.integers(4)))
    if rng.random() < 0.15:
        field = np.zeros_like(field)
    painted = _paint(field, rng)
    mean = painted.mean((0, 1))
    return _image(mean + (painted - mean) * rng.uniform(0.2, 1.0))


def _image(values: NDArray[np.floating]) -> Image.Image:
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def _draw_thing(pen: ImageDraw.ImageDraw, kind: int, center: NDArray[np.float64], radius: float, rng: Rng) -> None:
    lean = rotation(rng.uniform(0, np.pi))
    tilt = lean @ np.diag([1, rng.uniform(0.5, 1)]) @ lean.T
    pose = radius * tilt @ rotation(rng.normal(0, 0.5)) * [rng.choice([-1, 1]), -1]
    colors, edge = _palette(rng, 4), rng.random() < 0.4
    for points, color, width in SHAPES[kind](rng):
        placed = [(x, y) for x, y in points @ pose.T + center]
        fill = _tuple(colors[color] * rng.uniform(0.85, 1.15))
        if width:
            pen.line(placed, fill=fill, width=max(1, round(width * radius)), joint="curve")
        else:
            pen.polygon(placed, fill=fill, outline=_tuple(colors[3] * 0.5) if edge else None)


def _things(rng: Rng) -> tuple[Image.Image, int]:
    """One to four things of one kind, among other small ones."""
    canvas = _background(rng)
    pen = ImageDraw.Draw(canvas)
    kind, count = int(rng.integers(len(SHAPES))), int(rng.choice([1, 1, 2, 3, 4]))
    for _ in range(rng.integers(0, 5)):
        _draw_thing(pen, int(rng.integers(len(SHAPES))), rng.uniform(0, SIZE, 2), rng.uniform(6, 14), rng)
    for _ in range(count):
        _draw_thing(pen, kind, rng.uniform(0.28, 0.72, 2) * SIZE, rng.uniform(0.2, 0.5) * SIZE / count**0.4, rng)
    for _ in range(rng.integers(0, 3)):
        _draw_thing(pen, int(rng.integers(len(SHAPES))), rng.uniform(0, SIZE, 2), rng.uniform(5, 12), rng)
    return canvas, kind


@cache
def _font(position: int, pixels: int) -> ImageFont.FreeTypeFont:
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(folder / f"{FONTS[position]}.ttf", pixels)


def _letter(rng: Rng) -> tuple[Image.Image, int]:
    """One letter: any font, size, slant and stretch; often coarse, as on a small display, and light on dark."""
    kind = int(rng.integers(len(LETTERS)))
    mask = Image.new("L", (SIZE, SIZE))
    pixels = 8 * int(rng.integers(10, 16))
    font = _font(int(rng.integers(len(FONTS))), pixels)
    ImageDraw.Draw(mask).text(
        (SIZE / 2, SIZE / 2), LETTERS[kind], 255, font, anchor="mm", stroke_width=int(rng.integers(0, 7))
    )
    matrix = (
        rotation(rng.normal(0, 0.15))
        @ np.array([[1, rng.normal(0, 0.15)], [0, 1]])
        @ np.diag(rng.uniform(0.75, 1.3, 2))
    )
    shift = SIZE / 2 - matrix @ (np.full(2, SIZE / 2) + rng.normal(0, 6, 2))
    mask = mask.transform(
        mask.size,
        Image.Transform.AFFINE,
        (*matrix[0], shift[0], *matrix[1], shift[1]),
        Image.Resampling.BILINEAR,
    )
    if rng.random() < 0.5:
        coarse = int(rng.integers(7, 20))
        mask = mask.resize((coarse, coarse), Image.Resampling.BOX).resize(mask.size, Image.Resampling.BICUBIC)
    label = len(SHAPES) + kind
    if rng.random() < 0.5:
        level = rng.uniform(150, 255)
        grey = np.asarray(mask, np.float32)[..., None] / 255 * np.ones(3, np.float32) * level
        return _image(grey if rng.random() < 0.7 else 255 - grey), label
    return Image.composite(_background(rng), _background(rng), mask), label


def _texture(rng: Rng) -> tuple[Image.Image, int]:
    kind = int(rng.integers(len(_TEXTURES)))
    return _image(_paint(_TEXTURES[kind](rng), rng)), len(SHAPES) + len(LETTERS) + kind


def _fractal(rng: Rng) -> tuple[Image.Image, int]:
    """An iterated function system of two to four maps (Barnsley 1988; to learn from: Kataoka et al. 2020)."""
    kind = int(rng.integers(FRACTALS))
    code = np.random.default_rng([11, kind])
    maps = code.uniform(-0.9, 0.9, (int(code.integers(2, 5)), 2, 2))
    maps *= 0.8 / np.maximum(np.linalg.norm(maps, 2, axis=(1, 2)), 0.8)[:, None, None]
    shifts = code.uniform(-1, 1, (len(maps), 2))
    points = np.zeros((400, 2))
    seen = []
    for step in range(45):
        choice = rng.integers(len(maps), size=400)
        points = np.einsum("nij,nj->ni", maps[choice], points) + shifts[choice] * 0.5
        seen += [points] if step > 8 else []
    cloud = np.concatenate(seen) @ rotation(rng.uniform(0, 2 * np.pi)).T
    low, high = np.percentile(cloud, [1, 99], axis=0)
    spots = ((cloud - low) / (high - low).max() * rng.uniform(0.7, 1.0) + 0.05) * SIZE
    counts, _, _ = np.histogram2d(spots[:, 0], spots[:, 1], bins=SIZE, range=[[0, SIZE], [0, SIZE]])
    density = np.clip(counts / 2, 0, 1)[..., None]
    ground = np.asarray(_background(rng), np.float32)
    canvas = ground + density * (_palette(rng, 1)[0] - ground)
    return _image(canvas), len(SHAPES) + len(LETTERS) + len(_TEXTURES) + kind


def _dead_leaves(rng: Rng) -> tuple[Image.Image, int]:
    """Overlapping shapes whose sizes follow a power law (Lee, Mumford and Huang 2001), as parts of photographs do."""
    canvas = _background(rng)
    pen = ImageDraw.Draw(canvas)
    sizes = np.sort(np.clip(4 * rng.pareto(1.2, 70) + 3, 3, 60))[::-1]
    colors = _palette(rng, 8)
    for radius in sizes:
        x, y = rng.uniform(0, SIZE, 2)
        sides, fill = int(rng.choice([3, 4, 5, 24])), _tuple(colors[rng.integers(8)] * rng.uniform(0.7, 1.2))
        angle = rng.uniform(0, 7) + np.linspace(0, 2 * np.pi, sides, endpoint=False)
        outline = np.stack([x + radius * np.cos(angle), y + radius * rng.uniform(0.3, 1) * np.sin(angle)], 1)
        pen.polygon([(px, py) for px, py in outline], fill=fill)
    return canvas, NO_CLASS


def _scribble(rng: Rng) -> tuple[Image.Image, int]:
    """Smooth random strokes."""
    canvas = _background(rng)
    pen = ImageDraw.Draw(canvas)
    for _ in range(rng.integers(1, 7)):
        steps = np.cumsum(np.cumsum(rng.normal(0, 0.6, (30, 2)), 0), 0)
        path = steps - steps.mean(0) + rng.uniform(0.2, 0.8, 2) * SIZE
        pen.line(
            [(x, y) for x, y in path],
            fill=_tuple(_palette(rng, 1)[0]),
            width=int(rng.integers(1, 12)),
            joint="curve",
        )
    return canvas, NO_CLASS


def _photograph(canvas: Image.Image, rng: Rng) -> Image.Image:
    """Blur, light, contrast and noise, each in some of the pictures."""
    if rng.random() < 0.35:
        canvas = canvas.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 2.0)))
    values: NDArray[np.floating] = np.asarray(canvas, np.float32)
    if rng.random() < 0.5:
        light = 1 + rng.normal(0, 0.25) * (_GRID_X - 0.5) * 2 + rng.normal(0, 0.25) * (_GRID_Y - 0.5) * 2
        values = 128 + (values * light[..., None] - 128) * rng.uniform(0.6, 1.2) + rng.uniform(-20, 20)
    if rng.random() < 0.4:
        values = values + rng.normal(0, rng.uniform(2, 20), (SIZE, SIZE, 1 if rng.random() < 0.3 else 3))
    return _image(values)
