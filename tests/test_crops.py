"""The table of fruit and vegetables: all 36 folders of the public set, each of one group in the file."""

from pathlib import Path

import pytest

from raytl.class_map import class_map_problems, read_class_map
from raytl.data.crops import CROPS

# As the folders of the public set are named.
FOLDERS = """apple banana beetroot bell_pepper cabbage capsicum carrot cauliflower chilli_pepper corn cucumber eggplant
garlic ginger grapes jalepeno kiwi lemon lettuce mango onion orange paprika pear peas pineapple pomegranate potato
raddish soy_beans spinach sweetcorn sweetpotato tomato turnip watermelon"""
# As a cook sorts them, not a botanist: what is eaten for its sweetness or sourness is fruit.
FRUIT = frozenset(
    (
        "apple",
        "banana",
        "grapes",
        "kiwi",
        "lemon",
        "mango",
        "orange",
        "pear",
        "pineapple",
        "pomegranate",
        "watermelon",
    )
)
MAP = Path(__file__).parents[1] / "experiments" / "fruit_or_vegetable.csv"


def test_every_folder_of_the_public_set_has_a_kind() -> None:
    assert list(CROPS) == [name.replace("_", " ") for name in FOLDERS.split()]
    assert len(CROPS) == 36


def test_the_map_in_the_file_sorts_every_kind() -> None:
    written = read_class_map(MAP)
    assert class_map_problems(written, CROPS) == []
    assert {kind for kind, group in written.items() if group == "fruit"} == FRUIT
    assert written == {kind: "fruit" if kind in FRUIT else "vegetable" for kind in CROPS}
    assert set(written.values()) == {"fruit", "vegetable"}


@pytest.mark.parametrize(("kind", "group"), [("banana", "fruit"), ("tomato", "vegetable"), ("soy beans", "vegetable")])
def test_a_kind_is_sorted_as_in_a_kitchen(kind: str, group: str) -> None:
    assert read_class_map(MAP)[kind] == group
