"""What drawn pictures are made of: outlines, colours, backgrounds, and the light and noise of a photograph."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

IMAGE_SIZE = 64
CANVAS = 2 * IMAGE_SIZE  # drawn at twice the size, then averaged down: smooth edges

Rng = np.random.Generator
Points = NDArray[np.float64]
Color = tuple[int, int, int]


class Brush:
    """Draws shapes given in a thing's own frame (radius 1, y up) through its pose."""

    def __init__(self, pen: ImageDraw.ImageDraw, center: Points, pose: Points) -> None:
        self.pen, self.center, self.pose = pen, center, pose

    def polygon(self, points: Points, fill: Color, outline: Color | None = None) -> None:
        """A filled shape."""
        placed = points @ self.pose.T + self.center
        self.pen.polygon([(x, y) for x, y in placed], fill=fill, outline=outline)

    def line(self, points: Points, fill: Color, width: int) -> None:
        """A line through points, `width` pixels of the canvas wide."""
        placed = points @ self.pose.T + self.center
        self.pen.line([(x, y) for x, y in placed], fill=fill, width=width)


def random_pose(radius: float, rng: Rng, flattest: float = 0.55) -> Points:
    """Scale, slight turn, tilt towards a random direction (a circle becomes an ellipse, `flattest` at most), y up."""
    turn, direction = rng.normal(0, 0.35), rng.uniform(0, np.pi)
    tilt = rotation(direction) @ np.diag([1.0, rng.uniform(flattest, 1.0)]) @ rotation(-direction)
    return np.asarray(radius * tilt @ rotation(turn) @ np.diag([1.0, -1.0]))


def rotation(angle: float) -> Points:
    """The matrix that turns points (N, 2) from the right by `angle` radians."""
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def jittered(rgb: NDArray[np.generic], rng: Rng, spread: float = 14.0) -> Color:
    """A colour near `rgb`."""
    red, green, blue = np.clip(np.asarray(rgb, float) + rng.normal(0, spread, 3), 0, 255).astype(int)
    return int(red), int(green), int(blue)


def shaded(color: Color, factor: float) -> Color:
    """The colour, lighter or darker."""
    red, green, blue = (int(min(255, channel * factor)) for channel in color)
    return red, green, blue


def petal_outline(angle: float, start: float, length: float, width: float, pointed: float) -> Points:
    """Outline of a petal from `start` to `start + length` along `angle`; `pointed` from 0 (round) to 1."""
    along = np.linspace(0, 1, 9)
    half = width * np.sin(np.pi * along ** (0.7 + 0.5 * (1 - pointed))) ** (0.6 + 0.6 * pointed)
    side = np.stack([start + length * along, half], 1)
    outline = np.concatenate([side, (side * [1, -1])[::-1]])
    return np.asarray(outline @ rotation(angle).T)


def ellipse_outline(center: tuple[float, float], radii: tuple[float, float], angle: float = 0.0) -> Points:
    """Outline of an ellipse (20, 2)."""
    turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    circle = np.stack([np.cos(turn) * radii[0], np.sin(turn) * radii[1]], 1)
    return np.asarray(circle @ rotation(angle).T + np.asarray(center))


def draw_background(rng: Rng) -> NDArray[np.uint8]:
    """Soft color patches between two or three colors, sometimes with stripes: (canvas, canvas, 3)."""
    cells = int(rng.integers(2, 9))
    base = rng.choice([(70, 110, 50), (130, 160, 190), (95, 75, 55), (180, 180, 170), (40, 50, 40)])
    patches = np.clip(base + rng.normal(0, rng.uniform(8, 45), (cells, cells, 3)), 0, 255).astype(np.uint8)
    picture = np.asarray(Image.fromarray(patches).resize((CANVAS, CANVAS), Image.Resampling.BICUBIC), float)
    if rng.random() < 0.3:
        across = np.arange(CANVAS)
        wave = across[:, None] * rng.normal(0, 0.3) + across[None] * rng.normal(0, 0.3)
        picture = picture + rng.uniform(5, 25) * np.sin(wave)[..., None]
    return np.clip(picture, 0, 255).astype(np.uint8)


def draw_backdrop(rng: Rng) -> NDArray[np.uint8]:
    """A background with less contrast, often light, as behind a thing that is shown: (canvas, canvas, 3)."""
    ground = draw_background(rng)
    red, green, blue = (0.5 * ground[::8, ::8].mean((0, 1)) + rng.choice([60.0, 100.0, 120.0])).astype(int).tolist()
    plain = Image.new("RGB", (CANVAS, CANVAS), (red, green, blue))
    return np.asarray(Image.blend(plain, Image.fromarray(ground), rng.uniform(0.05, 0.6)))


def leaf_green(rng: Rng) -> Color:
    """Some green of plants."""
    return jittered(np.array([60, 120, 45]) * rng.uniform(0.5, 1.5), rng, 18.0)


def photograph(canvas: Image.Image, rng: Rng, most_noise: float = 14.0) -> Image.Image:
    """Average down, blur, light, contrast and noise, of `most_noise` shades (standard deviation) at most."""
    if rng.random() < 0.5:
        canvas = canvas.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.8)))
    small = np.asarray(canvas.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BOX), float)
    ramp = np.linspace(-1, 1, IMAGE_SIZE)
    light = 1 + rng.normal(0, 0.18) * ramp[:, None] + rng.normal(0, 0.18) * ramp[None]
    small = 128 + (small * light[..., None] * rng.uniform(0.9, 1.1, 3) - 128) * rng.uniform(0.65, 1.1)
    small = small + rng.uniform(-25, 25) + rng.normal(0, rng.uniform(2, most_noise), small.shape)
    return Image.fromarray(np.clip(small, 0, 255).astype(np.uint8))


def recompressed(picture: Image.Image, rng: Rng) -> Image.Image:
    """The picture as another site would show it: 10 to 60% larger, and compressed as JPEG."""
    size = (np.array(picture.size) * rng.uniform(1.1, 1.6)).astype(int)
    file = io.BytesIO()
    larger = picture.resize((int(size[0]), int(size[1])), Image.Resampling.BICUBIC)
    larger.save(file, "JPEG", quality=int(rng.integers(75, 96)))
    return Image.open(file).convert("RGB")
