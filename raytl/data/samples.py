"""The embedded data sets: pictures that the package makes or carries, for runs with no network.

`drawn-flowers`: five kinds of flowers drawn by formula (`raytl.data.drawn`), 64 px.
`digits`: the 1797 handwritten digits that scikit-learn carries (8x8 grey; from the UCI set "Optical Recognition of
Handwritten Digits", Alpaydin and Kaynak 1998), enlarged to 64 px RGB.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from raytl.data.drawn import FLOWER_KINDS, IMAGE_SIZE, draw_flower
from raytl.errors import DataError

_FLOWERS_PER_CLASS = 200  # chosen: 1,000 pictures, written in about three seconds


def sample_names() -> tuple[str, ...]:
    """Names of the embedded data sets."""
    return tuple(_SAMPLES)


def write_sample(name: str, folder: Path, per_class: int | None = None, seed: int = 0) -> Path:
    """Write the data set `name` as PNG files `<folder>/<class>/<index>.png` and return `folder`.

    `per_class=None` means all that the set has (drawn-flowers: 200 a class, more on request; digits: 174 to 183). The
    same arguments write the same bytes, and picture `index` does not depend on `per_class`. Raises `DataError`
    where the name is unknown, `per_class` is out of range, or `folder` already holds something.
    """
    folder = Path(folder)
    _check(name, folder, per_class)
    for label, pictures in _SAMPLES[name](per_class, seed):
        target = folder / label
        target.mkdir(parents=True)
        for index, picture in enumerate(pictures):
            picture.save(target / f"{index:04d}.png")
    return folder


def _check(name: str, folder: Path, per_class: int | None) -> None:
    problems = []
    if name not in _SAMPLES:
        problems.append(f"no embedded data set is called {name!r}; there are {', '.join(_SAMPLES)}")
    if per_class is not None and per_class < 1:
        problems.append(f"per_class is {per_class}; it must be at least 1, or None for all pictures")
    if name == "digits" and per_class is not None and per_class > _digits_per_class():
        problems.append(
            f"per_class is {per_class}, but the rarest digit has {_digits_per_class()} pictures; "
            "ask for at most that many, or None for all"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        problems.append(f"{folder} already holds something; name a new or empty folder")
    if problems:
        raise DataError(*problems)


def _flowers(per_class: int | None, seed: int) -> Iterator[tuple[str, Iterator[Image.Image]]]:
    count = _FLOWERS_PER_CLASS if per_class is None else per_class
    for position, kind in enumerate(FLOWER_KINDS):
        yield (
            kind,
            (draw_flower(kind, np.random.default_rng([seed, position, index])) for index in range(count)),
        )


def _digits_per_class() -> int:
    from sklearn.datasets import load_digits

    return int(np.bincount(load_digits().target).min())


def _digits(per_class: int | None, seed: int) -> Iterator[tuple[str, Iterator[Image.Image]]]:
    from sklearn.datasets import load_digits  # imported here: scikit-learn takes a second to import

    digits = load_digits()
    for label in range(10):
        where = np.flatnonzero(digits.target == label)
        order = np.random.default_rng([seed, label]).permutation(where)[:per_class]
        yield str(label), (_enlarge(digits.images[index]) for index in order)


def _enlarge(grey: np.ndarray) -> Image.Image:
    """(8, 8) values from 0 to 16, to an RGB picture of `IMAGE_SIZE` pixels."""
    picture = Image.fromarray((grey * (255 / 16)).round().astype(np.uint8))
    return picture.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC).convert("RGB")


_SAMPLES: dict[str, Callable[[int | None, int], Iterator[tuple[str, Iterator[Image.Image]]]]] = {
    "drawn-flowers": _flowers,
    "digits": _digits,
}
