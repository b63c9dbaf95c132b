"""The catalogue of public sets of pictures: where each is to be had, and what its source says of its bytes."""

from __future__ import annotations

from dataclasses import dataclass

from raytl.choice import nearest
from raytl.errors import ConfigError

TORCHVISION = "torchvision:"  # before the name of one of torchvision's own sets


@dataclass(frozen=True)
class PublicSet:
    """One archive of class folders, and how it is to be had.

    `address` is None where the source wants an account. `sha256` is what was published; where nothing was, the checksum
    is recorded at first use. `classes` are the folders to keep of an archive that holds more; none means all.
    `taken_from` says where address and checksum were read.
    """

    name: str
    about: str
    page: str
    file: str
    taken_from: str
    address: str | None = None
    sha256: str | None = None
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """One split of a torchvision set: the folder it becomes (None: there are no splits) and what its class is given."""

    split: str | None = None
    given: tuple[tuple[str, object], ...] = ()


@dataclass(frozen=True)
class TorchvisionSet:
    """One classification set of `torchvision.datasets`: the name of its class there, and its parts."""

    name: str
    parts: tuple[Part, ...]


PUBLIC = (
    PublicSet(
        name="flowers",
        about="3,670 photographs of five flowers",
        page="https://www.tensorflow.org/datasets/catalog/tf_flowers",
        file="flower_photos.tgz",
        taken_from="TensorFlow's tutorial on loading images; SHA-256: TensorFlow Datasets 4.9.10, tf_flowers, which "
        "names the same object as http://download.tensorflow.org/example_images/flower_photos.tgz",
        address="https://storage.googleapis.com/download.tensorflow.org/example_images/flower_photos.tgz",
        sha256="4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c",
    ),
    PublicSet(
        name="hymenoptera",
        about="398 photographs of ants and bees, in train and val",
        page="https://pytorch.org/tutorials/beginner/transfer_learning_tutorial.html",
        file="hymenoptera_data.zip",
        taken_from="PyTorch's tutorial on transfer learning, which gives no checksum",
        address="https://download.pytorch.org/tutorial/hymenoptera_data.zip",
    ),
    PublicSet(
        name="potato",
        about="2,152 potato leaves of PlantVillage: early blight 1,000, late blight 1,000, healthy 152",
        page="https://data.mendeley.com/datasets/tywbtsjrjv/1",
        file="plant_leaf_diseases.zip",  # 868 MB: the potatoes are not to be had alone
        taken_from="TensorFlow Datasets 4.9.10, plant_village (of Hughes and Salathé 2015); so is SHA-256",
        address="https://data.mendeley.com/public-files/datasets/tywbtsjrjv/files/"
        "d5652a28-c1d8-4b76-97f3-72fb80f94efc/file_downloaded",
        sha256="ac3432453984d02a86197987e775a5429d0d59e7cc7c35bcf5a8f50349b90ff0",
        classes=("Potato___Early_blight", "Potato___Late_blight", "Potato___healthy"),
    ),
    PublicSet(
        name="fruit",
        about="fruits and vegetables, 36 classes in train, validation and test",
        page="https://www.kaggle.com/datasets/kritikseth/fruit-and-vegetable-image-recognition",
        file="archive.zip",
        taken_from="the page of the set at Kaggle, which gives no checksum",
    ),
    PublicSet(
        name="dogs-cats",
        about="25,000 photographs of cats and dogs (Asirra); some cannot be read",
        page="https://www.microsoft.com/en-us/download/details.aspx?id=54765",
        file="kagglecatsanddogs_5340.zip",
        taken_from="TensorFlow Datasets 4.9.10, cats_vs_dogs; so is SHA-256",
        address="https://download.microsoft.com/download/3/E/1/3E1C3F21-ECDB-4869-8368-6DEBA77B919F/"
        "kagglecatsanddogs_5340.zip",
        sha256="b7974bd00a84a99921f36ee4403f089853777b5ae8d151c76a86e64900334af9",
    ),
)

_WHOLE = (Part(),)
_FLAGGED = (Part("train", (("train", True),)), Part("test", (("train", False),)))


def _named(train: str = "train", val: str | None = None, test: str | None = "test") -> tuple[Part, ...]:
    """The parts of a set whose class takes `split`, by what it calls them."""
    called = (("train", train), ("val", val), ("test", test))
    return tuple(Part(split, (("split", name),)) for split, name in called if name is not None)


def _with(parts: tuple[Part, ...], name: str, value: object) -> tuple[Part, ...]:
    return tuple(Part(part.split, (*part.given, (name, value))) for part in parts)


# As the signatures of torchvision 0.28 have them; addresses and MD5 sums are torchvision's own.
TORCHVISION_SETS = (
    TorchvisionSet("CIFAR10", _FLAGGED),
    TorchvisionSet("CIFAR100", _FLAGGED),
    TorchvisionSet("Caltech101", _WHOLE),
    TorchvisionSet("Caltech256", _WHOLE),
    TorchvisionSet("Country211", _named(val="valid")),
    TorchvisionSet("DTD", _named(val="val")),
    TorchvisionSet("EMNIST", _with(_FLAGGED, "split", "balanced")),
    TorchvisionSet("EuroSAT", _WHOLE),
    TorchvisionSet("FGVCAircraft", _named(val="val")),
    TorchvisionSet("FashionMNIST", _FLAGGED),
    TorchvisionSet("Flowers102", _named(val="val")),
    TorchvisionSet("Food101", _named()),
    TorchvisionSet("GTSRB", _named()),
    TorchvisionSet("Imagenette", _with(_named(val="val", test=None), "size", "320px")),
    TorchvisionSet("KMNIST", _FLAGGED),
    TorchvisionSet("MNIST", _FLAGGED),
    TorchvisionSet("OxfordIIITPet", _named(train="trainval")),
    TorchvisionSet("QMNIST", _FLAGGED),
    TorchvisionSet("RenderedSST2", _named(val="val")),
    TorchvisionSet("SEMEION", _WHOLE),
    TorchvisionSet("STL10", _named()),
    TorchvisionSet("SUN397", _WHOLE),
    TorchvisionSet("SVHN", _named()),
    TorchvisionSet("USPS", _FLAGGED),
)

# What torchvision has, but not for a plain download.
NOT_TO_BE_HAD = {
    "FER2013": "Kaggle gives it to people with an account",
    "ImageNet": "its owners give it to people with an account",
    "LFWPeople": "it names people, not kinds",
    "PCAM": "it lies in Google Drive and needs the packages gdown and h5py",
    "StanfordCars": "its address is gone",
}


def public_names() -> tuple[str, ...]:
    """What can be fetched by name, torchvision's sets with their prefix."""
    return (*(each.name for each in PUBLIC), *(f"{TORCHVISION}{each.name}" for each in TORCHVISION_SETS))


def public_lines() -> tuple[str, ...]:
    """The same for a person: what is in each set, and torchvision's, which say it themselves, in one line."""
    theirs = ", ".join(f"{TORCHVISION}{each.name}" for each in TORCHVISION_SETS)
    return (*(f"{each.name} ({each.about})" for each in PUBLIC), f"torchvision's own: {theirs}")


def find_public(name: str) -> PublicSet | TorchvisionSet:
    """The set called `name`, such as `flowers` or `torchvision:CIFAR10`.

    Raises:
        ConfigError: there is none; the nearest name, and all of them, are said.
    """
    every: dict[str, PublicSet | TorchvisionSet] = dict(zip(public_names(), (*PUBLIC, *TORCHVISION_SETS), strict=True))
    if name in every:
        return every[name]
    reason = NOT_TO_BE_HAD.get(name.removeprefix(TORCHVISION)) if name.startswith(TORCHVISION) else None
    if reason is not None:
        raise ConfigError(f"data set {name!r} cannot be fetched: {reason}; get it by hand and unpack it yourself")
    named = "; ".join(public_lines())
    raise ConfigError(f"data set {name!r} is not in the catalogue{nearest(name, public_names())}; there are {named}")


def folder_name(name: str) -> str:
    """What the folder of the set called `name` is called unless another is given."""
    return name.removeprefix(TORCHVISION).lower()
