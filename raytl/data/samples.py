"""The embedded data sets: pictures that the package makes or carries, for runs with no network.

`drawn-flowers`: five kinds of flowers drawn by formula (`raytl.data.drawn`), 64 px.
`drawn-leaves`: leaves with and without blight (`raytl.data.leaves`), 64 px; healthy ones are rare.
`drawn-fruit`: 36 kinds of fruit and vegetables (`raytl.data.fruit`), 64 px, in folders train, validation and test; one
in ten of the last two is a train picture, scaled and compressed anew, as happens in collections from the web.
`drawn-faces`: cartoon faces with seven expressions (`raytl.data.faces`), 64 px; some expressions are rarer than others.
`digits`: the 1797 handwritten digits that scikit-learn carries (8x8 grey; from the UCI set "Optical Recognition of
Handwritten Digits", Alpaydin and Kaynak 1998), enlarged to 64 px RGB.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from raytl.data.crops import CROPS
from raytl.data.drawn import FLOWER_KINDS, draw_flower
from raytl.data.faces import FACE_KINDS, draw_face
from raytl.data.fruit import draw_fruit
from raytl.data.leaves import LEAF_KINDS, draw_leaf
from raytl.data.strokes import IMAGE_SIZE, Rng, recompressed
from raytl.errors import DataError, system_problem

_FLOWERS_PER_CLASS = 200  # chosen: 1,000 pictures, written in about three seconds
_FRUIT_PER_CLASS = 100  # chosen: in train, about as many as in the public set; 4,320 pictures in about 15 seconds
_FRUIT_SPLITS = ("train", "validation", "test")
_FRUIT_HELD_OUT = 10  # chosen: train has this many times the pictures of validation, and of test
# Chosen: of this many pictures in validation and test one is a copy. Measured: of these 72 `raytl data check` reports
# 64, and nothing else; the fingerprints of the others differ in 4 to 6 bits, where at most 3 count as alike.
_FRUIT_COPIES = 10

_Pictures = Iterator[tuple[str, Iterator[Image.Image]]]  # by folder: a class, or a split and a class


def sample_names() -> tuple[str, ...]:
    """Names of the embedded data sets."""
    return tuple(_SAMPLES)


def sized_name(text: str) -> tuple[str, int | None]:
    """`drawn-flowers:20` as a set's name and the pictures a class that are asked for; None where no number is given.

    Raises:
        DataError: what follows the colon is no whole number.
    """
    name, colon, count = text.partition(":")
    if colon and not count.isdecimal():
        raise DataError(f"{text}: {count!r} is no number of pictures a class; write it like {sample_names()[0]}:20")
    return name, int(count) if colon else None


def write_sample(name: str, folder: Path, per_class: int | None = None, seed: int = 0) -> Path:
    """Write the data set `name` as PNG files `<folder>/<class>/<index>.png` and return `folder`.

    drawn-fruit lies in `<folder>/<train, validation or test>/<class>/<index>.png`.

    `per_class=None` means all that the set has (drawn-flowers: 200 a class, more on request; drawn-leaves: 1000, 1000
    and 152, drawn-faces: 90 to 280, `per_class` of the most frequent kind on request and the others in proportion;
    drawn-fruit: 100 a class in train, and always a tenth as many, rounded up, in validation and in test; digits: 174 to
    183). The same arguments write the same bytes, and picture `index` does not depend on `per_class`. Raises
    `DataError` where the name is unknown, `per_class` is out of range, or `folder` already holds something, and
    `StorageError` where it cannot be written.
    """
    folder = Path(folder)
    _check(name, folder, per_class)
    try:
        for place, pictures in _SAMPLES[name](per_class, seed):
            target = folder / place
            target.mkdir(parents=True)
            for index, picture in enumerate(pictures):
                picture.save(target / f"{index:04d}.png")
    except OSError as error:
        raise system_problem(error, folder) from error
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


def _flowers(per_class: int | None, seed: int) -> _Pictures:
    count = _FLOWERS_PER_CLASS if per_class is None else per_class
    for position, kind in enumerate(FLOWER_KINDS):
        yield (
            kind,
            (draw_flower(kind, np.random.default_rng([seed, position, index])) for index in range(count)),
        )


def _in_proportion(
    counts: Mapping[str, int], draw: Callable[[str, Rng], Image.Image], per_class: int | None, seed: int
) -> _Pictures:
    """As many of each kind as `counts` says, or `per_class` of the most frequent one and the others in proportion."""
    most = max(counts.values())
    for position, (kind, whole) in enumerate(counts.items()):
        count = whole if per_class is None else max(1, round(per_class * whole / most))
        yield (
            kind,
            (draw(kind, np.random.default_rng([seed, position, index])) for index in range(count)),
        )


def _fruit(per_class: int | None, seed: int) -> _Pictures:
    count = _FRUIT_PER_CLASS if per_class is None else per_class
    held_out = -(-count // _FRUIT_HELD_OUT)
    for split in _FRUIT_SPLITS:
        for kind in CROPS:
            indices = range(count if split == "train" else held_out)
            yield f"{split}/{kind}", (_one_fruit(split, kind, index, seed) for index in indices)


def _one_fruit(split: str, kind: str, index: int, seed: int) -> Image.Image:
    """Picture `index` of a kind in a split.

    Copies go round: classes take turns, and validation is half a round behind test. Their originals are so far in front
    that train has them, however few pictures are asked for, and each is copied once only.
    """
    position, place = list(CROPS).index(kind), _FRUIT_SPLITS.index(split)
    rng = np.random.default_rng([seed, position, place, index])
    shift = _FRUIT_COPIES // 2 if split == "validation" else 0
    if split == "train" or (position + index + shift) % _FRUIT_COPIES:
        return draw_fruit(kind, rng)
    return recompressed(_one_fruit("train", kind, index * _FRUIT_HELD_OUT, seed), rng)


def _digits_per_class() -> int:
    from sklearn.datasets import load_digits

    return int(np.bincount(load_digits().target).min())


def _digits(per_class: int | None, seed: int) -> _Pictures:
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


_SAMPLES: dict[str, Callable[[int | None, int], _Pictures]] = {
    "drawn-flowers": _flowers,
    "drawn-leaves": partial(_in_proportion, LEAF_KINDS, draw_leaf),
    "drawn-fruit": _fruit,
    "drawn-faces": partial(_in_proportion, FACE_KINDS, draw_face),
    "digits": _digits,
}
