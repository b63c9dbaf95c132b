"""What 36 kinds of fruit and vegetables look like, in numbers.

The kinds are named as the folders of the public set "Fruit and Vegetables Image Recognition" are, misspellings kept.
All numbers are chosen. Some kinds are nearly the same on purpose (bell pepper, capsicum and paprika; corn and
sweetcorn; chilli pepper and jalepeno): they differ in how often they have a colour or a shape, not in kind.
"""

from __future__ import annotations

from dataclasses import dataclass

from raytl.data.strokes import Color


@dataclass(frozen=True)
class Flesh:
    """A thing cut through: its colour, segments (as in an orange), rings (as in an onion) and seeds.

    `seeds` of them, each about `seed_size` (of the radius), lie `seed_ring` from the middle; `share` of the things are
    cut. The rim is as the skin.
    """

    color: Color
    heart: Color | None = None
    segments: int = 0
    rings: int = 0
    seeds: int = 0
    seed_color: Color = (60, 40, 25)
    seed_ring: float = 0.4
    seed_size: float = 0.06
    share: float = 0.35


@dataclass(frozen=True)
class Crop:
    """One kind.

    `colors`: of the skin, one is taken for all things of a picture. `profile`: half widths from the tip to the stem, in
    those of a circle. `bend`: how far the middle may lie beside the line from tip to stem. `form`: what is drawn, by
    its name in `raytl.data.fruit`; so are `marks` on the skin and the `top`, each a tuple of which one is taken.
    `second`: colour of marks and tops where it is not a shade of the skin or of leaves. `most`: things in a picture.
    """

    colors: tuple[Color, ...]
    profile: tuple[float, ...] = (1.0, 1.0)
    form: str = "whole"
    bend: float = 0.0
    marks: tuple[str, ...] = ("plain",)
    top: tuple[str, ...] = ("bare",)
    second: Color | None = None
    flesh: Flesh | None = None
    most: int = 3


_RED, _YELLOW, _ORANGE, _GREEN = (200, 35, 35), (238, 200, 50), (230, 125, 30), (65, 135, 50)
_PURPLE, _WHITE = (110, 40, 90), (238, 230, 215)

CROPS: dict[str, Crop] = {
    "apple": Crop(
        colors=(_RED, _RED, (140, 180, 60), (225, 185, 80)),
        profile=(0.8, 0.95, 1.0, 1.1, 1.0),
        marks=("freckles", "blush", "plain"),
        top=("leaf", "stem"),
        flesh=Flesh((245, 235, 200), seeds=5, seed_ring=0.15),
    ),
    "banana": Crop(
        colors=(_YELLOW, (235, 205, 80), (190, 195, 70)),
        profile=(0.2, 0.3, 0.32, 0.3, 0.18),
        bend=0.75,
        marks=("edges", "spots"),
        top=("stem",),
        most=4,
    ),
    "beetroot": Crop(
        colors=((115, 25, 55), (140, 30, 70)),
        profile=(0.15, 0.8, 1.05, 1.0, 0.7),
        marks=("rings",),
        top=("greens", "greens", "stalks"),
        second=(150, 30, 80),
        flesh=Flesh((150, 20, 70), rings=4),
    ),
    "bell pepper": Crop(
        colors=(_RED, _YELLOW, _GREEN, _ORANGE),
        profile=(0.75, 0.9, 0.85, 0.95, 1.05),
        marks=("lobes",),
        top=("cap",),
    ),
    "cabbage": Crop(colors=((150, 190, 120), (185, 210, 150), (125, 60, 115)), form="head", most=2),
    "capsicum": Crop(
        colors=(_RED, _GREEN, _GREEN, _YELLOW),
        profile=(0.6, 0.75, 0.75, 0.85, 0.95),
        marks=("lobes",),
        top=("cap",),
    ),
    "carrot": Crop(
        colors=((235, 120, 35), (220, 100, 30)),
        profile=(0.05, 0.16, 0.24, 0.32, 0.4),
        bend=0.1,
        marks=("rings",),
        top=("feathers", "feathers", "stalks"),
        most=5,
    ),
    "cauliflower": Crop(colors=(_WHITE, (240, 225, 190)), form="florets", most=2),
    "chilli pepper": Crop(
        colors=(_RED, _RED, _RED, _GREEN, _ORANGE),
        profile=(0.02, 0.12, 0.17, 0.2, 0.22),
        bend=0.5,
        marks=("shine",),
        top=("cap",),
        most=5,
    ),
    "corn": Crop(
        colors=(_YELLOW, (245, 220, 120)),
        profile=(0.25, 0.4, 0.45, 0.46, 0.4),
        marks=("kernels",),
        top=("husk", "husk", "husk", "bare"),
    ),
    "cucumber": Crop(
        colors=((50, 105, 50), (80, 140, 60)),
        profile=(0.3, 0.32, 0.33, 0.32, 0.3),
        bend=0.2,
        marks=("stripes", "freckles"),
        flesh=Flesh((200, 222, 150), seeds=9, seed_color=(235, 235, 190), seed_ring=0.45),
        most=4,
    ),
    "eggplant": Crop(
        colors=((60, 30, 80), (85, 35, 95)),
        profile=(0.7, 0.8, 0.7, 0.5, 0.4),
        bend=0.25,
        marks=("shine",),
        top=("cap",),
    ),
    "garlic": Crop(
        colors=(_WHITE, (228, 205, 212)),
        profile=(0.85, 1.0, 0.95, 0.6, 0.2),
        marks=("lobes",),
        top=("neck",),
        second=(170, 130, 140),
    ),
    "ginger": Crop(colors=((205, 170, 115), (185, 145, 90)), form="knobs", marks=("rings",), most=2),
    "grapes": Crop(colors=(_PURPLE, (150, 185, 80), (65, 45, 90), (150, 40, 65)), form="bunch", most=2),
    "jalepeno": Crop(
        colors=(_GREEN, _GREEN, _GREEN, (45, 100, 40), _RED),
        profile=(0.2, 0.26, 0.29, 0.32, 0.32),
        bend=0.25,
        marks=("shine",),
        top=("cap",),
        most=5,
    ),
    "kiwi": Crop(
        colors=((125, 95, 60), (140, 110, 70)),
        profile=(0.8, 0.85, 0.85, 0.8),
        marks=("fuzz",),
        flesh=Flesh((125, 180, 55), (230, 235, 190), seeds=14, seed_color=(30, 30, 20), share=0.6),
        most=4,
    ),
    "lemon": Crop(
        colors=((245, 220, 60), (235, 215, 90)),
        profile=(0.35, 0.75, 0.85, 0.75, 0.3),
        marks=("freckles",),
        top=("bare", "leaf"),
        flesh=Flesh((250, 240, 160), segments=9),
    ),
    "lettuce": Crop(colors=((120, 185, 65), (150, 205, 90)), form="ruffles", most=2),
    "mango": Crop(
        colors=((240, 170, 50), (215, 120, 60), (150, 165, 60)),
        profile=(0.6, 0.8, 0.9, 0.9, 0.7),
        bend=0.3,
        marks=("blush",),
        top=("bare", "stem"),
        second=(205, 70, 50),
        flesh=Flesh((248, 185, 50), (235, 200, 110), share=0.25),
    ),
    "onion": Crop(
        colors=((195, 120, 60), (145, 55, 90), _WHITE),
        profile=(0.7, 0.95, 1.05, 0.8, 0.25),
        marks=("stripes",),
        top=("neck",),
        flesh=Flesh((238, 225, 232), rings=5),
    ),
    "orange": Crop(
        colors=((240, 140, 30), (245, 160, 50)),
        marks=("freckles",),
        top=("bare", "leaf"),
        flesh=Flesh((250, 170, 60), segments=10),
    ),
    "paprika": Crop(
        colors=(_RED, (180, 25, 30), _RED, _ORANGE),
        profile=(0.3, 0.5, 0.6, 0.75, 0.85),
        bend=0.15,
        marks=("lobes", "shine"),
        top=("cap",),
    ),
    "pear": Crop(
        colors=((190, 190, 70), (180, 155, 65), (150, 175, 70)),
        profile=(0.95, 0.95, 0.75, 0.5, 0.55),
        bend=0.12,
        marks=("freckles", "blush"),
        top=("stem", "leaf"),
        second=(190, 90, 60),
    ),
    "peas": Crop(colors=((115, 175, 60), (90, 150, 50)), form="pod", bend=0.3, top=("stem",), most=4),
    "pineapple": Crop(
        colors=((205, 150, 50), (170, 125, 50)),
        profile=(0.65, 0.7, 0.72, 0.72, 0.65),
        marks=("diamonds",),
        top=("crown",),
        most=2,
    ),
    "pomegranate": Crop(
        colors=((180, 40, 50), (200, 85, 70)),
        marks=("blush", "freckles"),
        top=("points",),
        flesh=Flesh((235, 215, 165), segments=6, seeds=26, seed_color=(170, 15, 40), seed_ring=0.5, seed_size=0.11),
    ),
    "potato": Crop(
        colors=((205, 170, 110), (175, 135, 85), (190, 120, 95)),
        profile=(0.7, 0.85, 0.75, 0.8, 0.7),
        bend=0.2,
        marks=("spots",),
        most=4,
    ),
    "raddish": Crop(
        colors=((205, 35, 80), (215, 60, 105), (225, 60, 70)),
        profile=(0.02, 0.7, 1.0, 1.0, 0.75),
        marks=("shine",),
        top=("greens", "stalks"),
        most=5,
    ),
    "soy beans": Crop(colors=((135, 160, 75), (200, 180, 125)), form="beans", bend=0.3, most=5),
    "spinach": Crop(colors=((45, 105, 45), (60, 125, 50)), form="leaves", most=4),
    "sweetcorn": Crop(
        colors=((245, 210, 70), _YELLOW),
        profile=(0.35, 0.42, 0.45, 0.45, 0.42),
        marks=("kernels",),
        top=("bare", "bare", "husk"),
    ),
    "sweetpotato": Crop(
        colors=((170, 85, 65), (190, 115, 75), (145, 65, 80)),
        profile=(0.05, 0.4, 0.55, 0.5, 0.1),
        bend=0.3,
        marks=("spots", "rings"),
        flesh=Flesh((235, 145, 60), share=0.25),
        most=4,
    ),
    "tomato": Crop(
        colors=((215, 45, 35), (230, 75, 40)),
        profile=(0.95, 1.0, 1.05, 1.1, 1.0),
        marks=("shine",),
        top=("star",),
        flesh=Flesh((225, 75, 55), segments=4, seeds=12, seed_color=(240, 190, 90), seed_ring=0.5),
        most=4,
    ),
    "turnip": Crop(
        colors=(_WHITE, (235, 215, 220)),
        profile=(0.02, 0.75, 1.05, 1.05, 0.8),
        marks=("collar",),
        top=("greens", "stalks"),
        second=(150, 60, 120),
    ),
    "watermelon": Crop(
        colors=((45, 105, 50), (85, 145, 65)),
        profile=(0.8, 0.82, 0.82, 0.8),
        marks=("waves",),
        second=(25, 65, 35),
        flesh=Flesh((225, 60, 70), seeds=12, seed_ring=0.55, share=0.5),
        most=2,
    ),
}
