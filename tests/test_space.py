"""Domains and spaces: what they hold, what they refuse, and what `--set` turns into."""

from __future__ import annotations

import math
from itertools import combinations, permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytl.errors import ConfigError
from raytl.recipe import FIELD_NAMES, FIELD_TYPES, Recipe, make_recipe
from raytl.space import (
    Choices,
    Domain,
    IntRange,
    LogUniform,
    Space,
    Uniform,
    Value,
    grid,
    parse_setting,
    setting_text,
)

NUMBERS = st.floats(1e-6, 10, allow_nan=False)
FRACTIONS = st.floats(0, 1)


@st.composite
def domains(draw: st.DrawFn) -> Domain:
    kind = draw(st.sampled_from(["log", "uniform", "int", "choices"]))
    if kind == "choices":
        values = st.one_of(st.none(), st.integers(-5, 5), st.sampled_from(["a", "b", "1"]))
        return Choices(tuple(draw(st.lists(values, min_size=1, max_size=5, unique=True))))
    if kind == "int":
        low = draw(st.integers(-5, 5))
        return IntRange(low, low + draw(st.integers(1, 9)))
    low_end = draw(NUMBERS)
    high_end = low_end * draw(st.floats(1.001, 1e6))
    return LogUniform(low_end, high_end) if kind == "log" else Uniform(low_end, high_end)


@given(domains(), FRACTIONS, st.integers(1, 7))
def test_whatever_a_domain_gives_it_holds(domain: Domain, fraction: float, points: int) -> None:
    assert domain.contains(domain.at(fraction))
    values = grid(domain, points)
    assert all(domain.contains(value) for value in values)
    assert len(set(map(repr, values))) == len(values)
    assert domain.size is None or len(values) <= domain.size
    if domain.size is None and points > 1:
        assert len(values) == points and values[0] == domain.at(0) and values[-1] == domain.at(1)


@given(domains(), FRACTIONS, FRACTIONS)
def test_a_domain_is_gone_through_in_order(domain: Domain, first: float, second: float) -> None:
    low, high = domain.at(min(first, second)), domain.at(max(first, second))
    if isinstance(domain, Choices):
        assert domain.values.index(low) <= domain.values.index(high)
    else:
        assert isinstance(low, int | float) and isinstance(high, int | float) and low <= high


def test_fractions_are_shared_out_by_closed_forms() -> None:
    assert LogUniform(1e-4, 1e-2).at(0.5) == pytest.approx(1e-3)
    assert Uniform(1, 3).at(0.25) == 1.5
    counts = [sum(IntRange(0, 3).at((i + 0.5) / 1000) == value for i in range(1000)) for value in range(4)]
    assert counts == [250] * 4
    assert grid(LogUniform(1e-4, 1e-2), 3) == pytest.approx((1e-4, 1e-3, 1e-2))
    assert grid(IntRange(0, 10), 3) == (0, 5, 10)
    assert grid(IntRange(2, 4), 3) == (2, 3, 4)
    assert grid(Uniform(0, 1), 1) == (0.5,)


@pytest.mark.parametrize(
    ("domain", "value"),
    [
        (IntRange(0, 5), 6),
        (IntRange(0, 5), 3.0),
        (IntRange(0, 5), True),
        (IntRange(0, 5), None),
        (Uniform(0, 1), "0.5"),
        (Uniform(0, 1), math.nan),
        (LogUniform(1e-5, 1e-3), 0),
        (Choices((1, 2)), "1"),
        (Choices(("1",)), 1),
    ],
)
def test_what_lies_outside_is_not_held(domain: Domain, value: object) -> None:
    assert not domain.contains(value)


def test_a_space_counts_and_lists_its_points() -> None:
    space = Space({"freeze_depth": IntRange(0, 2), "augment": Choices(("none", "light"))})
    assert space.size == 6
    listed = [tuple(point.values()) for point in space.points(9)]
    assert listed == list(product((0, 1, 2), ("none", "light")))
    assert space.with_domains({"lr": LogUniform(1e-5, 1e-3)}).size is None
    assert list(space.without("augment").domains) == ["freeze_depth"]
    recipe = Recipe(backbone="any", freeze_depth=1, augment="light")
    assert space.contains(recipe.values())
    assert not space.contains({"freeze_depth": 1})
    assert space.point({"augment": "light", "lr": 1.0, "freeze_depth": 1}) == {"freeze_depth": 1, "augment": "light"}
    assert Space({}).size == 1


def test_everything_wrong_with_a_space_is_said_at_once() -> None:
    wrong: dict[str, Domain] = {
        "weight_decy": Uniform(0, 1),
        "lr": LogUniform(0, 1),
        "batch_size": IntRange(5, 2),
        "dropout": Uniform(0, 2),
        "schedule": Choices(("cosine", "step:1")),
        "augment": Choices(()),
        "optimizer": Choices(("adam", "adam")),
        "freeze_depth": Uniform(0, 3),
        "clip_norm": LogUniform(1, math.inf),
        "seed": IntRange(0, 4),
        "backbone": Choices(("a", "b")),
        "momentum": Uniform(0.1, 0.9),
    }
    with pytest.raises(ConfigError) as caught:
        Space(wrong)
    text = str(caught.value)
    assert "did you mean 'weight_decay'" in text
    assert "write it like 'step:10,0.5'" in text
    assert "momentum" not in text
    assert all(name in text for name in wrong if name != "momentum")


def test_a_space_is_tried_on_the_recipe_it_starts_from() -> None:
    space = Space({"image_size": Choices((224, 288)), "lr": LogUniform(1e-4, 1e-3)})
    space.check(Recipe(backbone="any", eval_resize=288))
    with pytest.raises(ConfigError, match="eval_resize must be at least image_size"):
        space.check(Recipe(backbone="any", eval_resize=256))


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("lr=1e-5..1e-2", LogUniform(1e-5, 1e-2)),
        ("weight_decay=1e-4..0.1", LogUniform(1e-4, 0.1)),
        ("weight_decay=0..0.1", Uniform(0.0, 0.1)),
        ("dropout=0..0.5", Uniform(0.0, 0.5)),
        ("freeze_depth=0..5", IntRange(0, 5)),
        ("unfreeze_epoch=1..5", IntRange(1, 5)),
        ("lr=1e-3", 1e-3),
        ("lr=1", 1.0),
        ("batch_size=16|32|64", Choices((16, 32, 64))),
        ("unfreeze_epoch=none|3", Choices((None, 3))),
        ("clip_norm=none", None),
        ("augment=none", "none"),
        ("schedule=step:10,0.5", "step:10,0.5"),
        ("schedule=cosine|step:10,0.5", Choices(("cosine", "step:10,0.5"))),
        (" head = linear | mlp:256-128 ", Choices(("linear", "mlp:256-128"))),
    ],
)
def test_settings_are_read_by_the_type_of_their_field(text: str, setting: Domain | Value) -> None:
    name, value = parse_setting(text)
    assert name == text.partition("=")[0].strip()
    assert value == setting and type(value) is type(setting)
    if value is not None:
        assert parse_setting(f"{name}={value}") == (name, value)


def accepted(name: str) -> list[Domain]:
    """Domains of every kind that a field may have."""
    numbers = (0, 1, 2, 8, 16, 224, 0.001, 0.25, 0.9, 1.5)
    default = getattr(Recipe(backbone="any"), name)
    tried: list[Domain] = [Choices((default,)), Choices((None, 1, 2)), Choices((None,))]
    tried += [Choices(pair) for pair in combinations(numbers, 2)]
    for low, high in permutations(numbers, 2):
        tried += [Uniform(low, high), LogUniform(low, high)]
        if isinstance(low, int) and isinstance(high, int):
            tried.append(IntRange(low, high))
    return [domain for domain in tried if is_accepted(name, domain)]


def is_accepted(name: str, domain: Domain) -> bool:
    try:
        Space({name: domain})
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize("name", [name for name in FIELD_NAMES if name not in ("backbone", "epochs", "seed")])
def test_every_domain_of_every_field_is_read_from_its_text(name: str) -> None:
    domains = accepted(name)
    assert len(domains) > (0 if FIELD_TYPES[name] == "str" else 4)
    for domain in domains:
        found = parse_setting(f"{name}={setting_text(name, domain)}")[1]
        assert (type(found), found) == (type(domain), domain)


def test_a_kind_is_told_where_it_is_not_the_fields_own() -> None:
    assert setting_text("lr", LogUniform(1e-5, 1e-2)) == "1e-05..0.01"
    assert setting_text("lr", Uniform(1e-5, 1e-2)) == "1e-05..0.01:uniform"
    assert setting_text("dropout", LogUniform(0.1, 0.5)) == "0.1..0.5:log"
    assert setting_text("warmup_epochs", IntRange(1, 3)) == "1..3:whole"
    assert setting_text("batch_size", Choices((16,))) == "16|"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr=1e-5..1e-2:even", "a range may be one of uniform, log, whole, not 'even'"),
        ("lr=1e-5..1e-2:", "a range may be one of"),
        ("dropout=0..0.5:log", "low must be above 0"),
        ("warmup_epochs=0.5..3:whole", "must be int"),
        ("batch_size=8..32:log", "must be int, not float"),
        ("batch_size=|", "must be int"),
        ("lrr=1", "did you mean 'lr'"),
        ("learning_rate=1e-3", "did you mean 'lr'?"),
        ("lr", "field=low..high"),
        ("lr=", "field=low..high"),
        ("lr=-1", "must lie between"),
        ("lr=fast", "must be float"),
        ("lr=nan", "must lie between"),
        ("lr=1e-2..1e-3", "low must be below high"),
        ("lr=1e-3..none", "must be float"),
        ("clip_norm=none..3", "a number at both ends"),
        ("lr=1..2..3", "low..high"),
        ("augment=a..b", "alternatives with |"),
        ("batch_size=16,32", "alternatives with |"),
        ("batch_size=16|16", "names a value twice"),
        ("batch_size=1.5", "must be int"),
        ("schedule=cosin|step:1", "did you mean 'cosine'"),
        ("seed=1..3", "--seed"),
        ("epochs=3|9", "--epochs"),
    ],
)
def test_settings_that_mean_nothing_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_setting(text)
    assert message in str(caught.value)


@given(st.floats(1e-9, 100), st.floats(0, 1))
def test_a_value_survives_its_way_into_a_recipe(low: float, fraction: float) -> None:
    space = Space({"lr": LogUniform(low / 2, low)}) if low > 2e-9 else Space({"lr": LogUniform(1e-9, 1e-3)})
    value = space.domains["lr"].at(fraction)
    assert make_recipe(Recipe(backbone="any"), {"lr": value}).lr == value
