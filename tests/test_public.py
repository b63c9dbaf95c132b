"""The catalogue of public sets: whole, and true to torchvision's signatures."""

from __future__ import annotations

import inspect
import re
from urllib.parse import urlsplit

import pytest
import torchvision.datasets

from raytl.data.archive import is_archive
from raytl.data.public import NOT_TO_BE_HAD, PUBLIC, TORCHVISION_SETS, PublicSet, find_public, folder_name, public_names
from raytl.errors import ConfigError


@pytest.mark.parametrize("each", PUBLIC, ids=lambda each: each.name)
def test_every_set_says_where_it_is_from(each: PublicSet) -> None:
    assert is_archive(type("Path", (), {"name": each.file}))  # type: ignore[arg-type]
    assert all((each.about, each.taken_from, urlsplit(each.page).scheme == "https"))
    assert each.address is None or urlsplit(each.address).scheme == "https"
    assert each.sha256 is None or re.fullmatch("[0-9a-f]{64}", each.sha256)
    assert each.sha256 is None or "SHA-256" in each.taken_from


@pytest.mark.parametrize("each", TORCHVISION_SETS, ids=lambda each: each.name)
def test_torchvision_takes_what_its_sets_are_given(each: object) -> None:
    chosen = next(one for one in TORCHVISION_SETS if one is each)
    make = getattr(torchvision.datasets, chosen.name)
    # EMNIST and QMNIST hand the rest on to MNIST.
    known = {name for kind in make.__mro__ for name in inspect.signature(kind.__init__).parameters}
    for part in chosen.parts:
        assert {name for name, _ in part.given} | {"root", "download"} <= known
    splits = [part.split for part in chosen.parts]
    assert splits == [None] or (splits[0] == "train" and len(set(splits)) == len(splits) > 1)


def test_a_set_is_found_by_its_name() -> None:
    assert len(set(public_names())) == len(public_names())
    for name in public_names():
        assert find_public(name).name == name.removeprefix("torchvision:")
    assert folder_name("torchvision:CIFAR10") == "cifar10" and folder_name("dogs-cats") == "dogs-cats"
    assert len({folder_name(name) for name in public_names()}) == len(public_names())


def test_an_unknown_name_is_told_its_neighbour() -> None:
    with pytest.raises(ConfigError, match=r"'flower' is not in the catalogue, did you mean 'flowers'\?; there are"):
        find_public("flower")
    with pytest.raises(ConfigError, match="did you mean 'torchvision:CIFAR10'"):
        find_public("torchvision:CIFAR-10")
    with pytest.raises(ConfigError, match=r"there are flowers \(3,670 photographs of five flowers\); hymenoptera"):
        find_public("weeds")
    for name, reason in NOT_TO_BE_HAD.items():
        with pytest.raises(ConfigError, match=f"cannot be fetched: {reason}"):
            find_public(f"torchvision:{name}")
