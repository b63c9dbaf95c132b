"""torchvision's sets as class folders: its pictures one by one, its downloads by our own way."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torchvision.datasets
from PIL import Image
from torchvision.datasets import utils

from raytl.data.fetch import fetch
from raytl.data.sources import find
from raytl.errors import DataError, MachineError, StorageError
from tests.faults import largest_file
from tests.files_server import Site, serving
from tests.pictures import noise, write_classes
from tests.test_archive import content, zipped
from tests.test_web import closed_port


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    write_classes(tmp_path / "packed", {f"{split}/{label}": 3 for split in ("train", "test") for label in "ab"})
    packed = zipped(tmp_path / "packed.zip", content(tmp_path / "packed")).read_bytes()
    with serving({"/set.zip": packed}) as site:
        Base.address, Base.md5 = f"{site.address}/set.zip", hashlib.md5(packed).hexdigest()
        yield site


class Base:
    """What the fakes have in common: torchvision's own way of bringing an archive."""

    address: ClassVar[str] = ""
    md5: ClassVar[str | None] = None

    def bring(self, root: str, split: str) -> Path:
        folder = Path(root) / "folder"
        if not folder.exists():
            utils.download_and_extract_archive(self.address, root, str(folder), filename="set.zip", md5=self.md5)
        return folder / split


class Numbers(Base):
    """A set that keeps its pictures as numbers, as CIFAR10 does."""

    classes = ("T-shirt/top", "T-shirt-top")

    def __init__(self, root: str, train: bool = True, download: bool = False) -> None:
        assert download
        self.bring(root, "train")
        self.seeds = range(5) if train else range(5, 9)

    def __len__(self) -> int:
        return len(self.seeds)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return noise(self.seeds[index]), self.seeds[index] % 2


class Files(Base):
    """A set that has files and takes a loader, as Food101 does; it says several names for a class."""

    classes: ClassVar[tuple[tuple[str, str], ...]] = (("one", "uno"), ("two", "due"))

    def __init__(self, root: str, split: str = "train", download: bool = False, loader: object = None) -> None:
        assert download and callable(loader)
        self.loader = loader
        self.files = sorted(self.bring(root, split).rglob("*.png"))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[object, np.int64]:
        return self.loader(str(self.files[index])), np.int64(self.files[index].parent.name == "b")


class Opened(Files):
    """A set that opens its files itself and knows no names, as Caltech256 nearly does."""

    classes: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __init__(self, root: str, split: str = "train", download: bool = False) -> None:
        super().__init__(root, split, download, Image.open)


def written(
    name: str, fake: type[Base], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str = "set"
) -> tuple[Path, list[str]]:
    monkeypatch.setattr(torchvision.datasets, name, fake)
    said: list[str] = []
    return fetch(f"torchvision:{name}", tmp_path / out, None, tmp_path / "cache", said.append), said


def test_numbers_become_pngs_with_the_same_pixels(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, said = written("CIFAR10", Numbers, tmp_path, monkeypatch)
    seeds = {"train": range(5), "test": range(5, 9)}
    for split, part in seeds.items():
        for index, seed in enumerate(part):
            path = folder / split / ("T-shirt-top 1" if seed % 2 else "T-shirt-top") / f"{index:06d}.png"
            np.testing.assert_array_equal(np.asarray(Image.open(path)), np.asarray(noise(seed)))
    assert len(find(folder)) == 9 and {item.split for item in find(folder)} == {"train", "test"}
    assert said[-2:] == ["CIFAR10 train: 5 pictures in 2 classes", "CIFAR10 test: 4 pictures in 2 classes"]
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "packed", "packed.zip", "set"}


@pytest.mark.parametrize(("name", "fake", "labels"), [("Food101", Files, "one two"), ("SVHN", Opened, "0 1")])
def test_files_are_taken_as_they_are(
    name: str, fake: type[Base], labels: str, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = written(name, fake, tmp_path, monkeypatch)
    for split in ("train", "test"):
        for label, source in zip(labels.split(), "ab", strict=True):
            given = [path.read_bytes() for path in sorted((tmp_path / "packed" / split / source).iterdir())]
            assert [path.read_bytes() for path in sorted((folder / split / label).iterdir())] == given


def idx(values: np.ndarray) -> bytes:
    """A gzipped file in the format of MNIST: two zeros, 8 for bytes, the number of axes, their lengths, the values."""
    lengths = b"".join(length.to_bytes(4, "big") for length in values.shape)
    return gzip.compress(bytes((0, 0, 8, values.ndim)) + lengths + values.astype(np.uint8).tobytes())


def test_a_set_of_torchvision_itself(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MNIST, with pictures of our own where the true ones lie."""
    real = torchvision.datasets.MNIST
    files, pictures = {}, {}
    for split, stem, count in (("train", "train", 6), ("test", "t10k", 4)):
        pictures[split] = np.random.default_rng(count).integers(0, 256, (count, 28, 28), dtype=np.uint8)
        files[f"{stem}-images-idx3-ubyte.gz"] = idx(pictures[split])
        files[f"{stem}-labels-idx1-ubyte.gz"] = idx(np.arange(count) % 2)
    site.files.update({f"/{name}": data for name, data in files.items()})
    monkeypatch.setattr(real, "mirrors", [f"{site.address}/"])
    monkeypatch.setattr(real, "resources", [(name, hashlib.md5(data).hexdigest()) for name, data in files.items()])
    folder = fetch("torchvision:MNIST", tmp_path / "set", None, tmp_path / "cache", lambda _line: None)
    for split, expected in pictures.items():
        for index, picture in enumerate(expected):
            path = folder / split / ("1 - one" if index % 2 else "0 - zero") / f"{index:06d}.png"
            np.testing.assert_array_equal(np.asarray(Image.open(path)), picture)
    assert len(find(folder)) == 10 and len(site.served) == len(files)


def test_a_download_is_gone_on_with_and_used_again(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision's public functions end in those that are replaced, whatever they are called inside."""
    monkeypatch.setattr("raytl.data.download.PAUSES_SECONDS", (0.0,))
    site.cuts = [1000]
    folder, _ = written("Food101", Files, tmp_path, monkeypatch)
    whole = len(site.files["/set.zip"])
    assert [request.bytes for request in site.served] == [1000, whole - 1000]
    site.files.clear()
    again, _ = written("Food101", Files, tmp_path, monkeypatch, "again")
    assert content(again) == content(folder) and len(site.served) == 2
    record = tmp_path / "cache/downloads/food101/set.zip.sha256"
    assert record.read_text().split()[0] == hashlib.sha256((tmp_path / "packed.zip").read_bytes()).hexdigest()


def test_torchvision_has_its_own_functions_back(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = utils._urlretrieve, utils._get_redirect_url
    written("Food101", Files, tmp_path, monkeypatch)
    site.files.clear()
    with pytest.raises(DataError):
        written("SVHN", Opened, tmp_path, monkeypatch, "other")
    assert (utils._urlretrieve, utils._get_redirect_url) == before


def test_another_file_than_torchvision_knows_is_refused(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, site.files["/set.zip"] = site.files["/set.zip"], b"something else"
    with pytest.raises(DataError, match=r"torchvision:Food101: .*corrupted.*the same command gets them again"):
        written("Food101", Files, tmp_path, monkeypatch)
    assert not (tmp_path / "set").exists()
    site.files["/set.zip"] = good
    assert written("Food101", Files, tmp_path, monkeypatch)[0].is_dir()


def test_a_set_without_a_sum_is_compared_with_the_first_time(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Base, "md5", None)
    written("FGVCAircraft", ThreeFiles, tmp_path, monkeypatch)
    (tmp_path / "cache/downloads/fgvcaircraft/set.zip").unlink()
    site.files["/set.zip"] = zipped(tmp_path / "b.zip", {"train/a/1.png": b"1"}).read_bytes()
    with pytest.raises(DataError, match="the first time"):
        written("FGVCAircraft", ThreeFiles, tmp_path, monkeypatch, "other")


class ThreeFiles(Files):
    """Files, where `val` is like `train`."""

    def bring(self, root: str, split: str) -> Path:
        return super().bring(root, "train" if split == "val" else split)


def test_no_network_names_the_host(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Base, "address", f"http://127.0.0.1:{closed_port()}/set.zip")
    with pytest.raises(MachineError, match=r"^127\.0\.0\.1:\d+: cannot be reached .*give `raytl search` their folder"):
        written("Food101", Files, tmp_path, monkeypatch)


def test_a_missing_package_and_a_full_disk(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def needing(root: str, split: str, download: bool) -> None:
        raise ImportError("No module named 'h5py'")

    with pytest.raises(MachineError, match="torchvision:SVHN: No module named 'h5py'; install that package"):
        written("SVHN", needing, tmp_path, monkeypatch)  # type: ignore[arg-type]
    with largest_file(1000), pytest.raises(StorageError, match="make room"):
        written("Food101", Files, tmp_path, monkeypatch)
    assert not (tmp_path / "set").exists()
