"""Prices by type of machine: what is written is what is understood, and what is not there is refused by name."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytl.errors import ConfigError
from raytl.money import ANY, check_types, parse_prices, price_of, price_problems

NAMES = st.text(st.characters(codec="ascii", categories=["L", "N"], include_characters="._-= "), min_size=1).filter(
    lambda name: name == name.strip()
)
PRICES = st.integers(0, 10**9 - 1).map(lambda millis: millis / 1000)


@settings(deadline=None)
@given(st.dictionaries(NAMES, PRICES, max_size=4), st.none() | PRICES)
def test_what_is_written_is_what_is_understood(prices: dict[str, float], other: float | None) -> None:
    texts = [f"{name}={price:.3f}" for name, price in prices.items()]
    texts += [] if other is None else [f"{other:.3f}"]
    assert parse_prices(texts) == prices | ({} if other is None else {ANY: other})


@settings(deadline=None)
@given(st.text(max_size=12))
def test_any_text_is_a_price_or_is_refused_with_what_to_write(text: str) -> None:
    try:
        [(name, price)] = parse_prices([text]).items()
    except ConfigError as error:
        assert f"--price {text}: write TYPE=PER_HOUR" in str(error)
    else:
        assert price_problems({name: price}) == [] and name == name.strip() != ""
        assert float(text.rpartition("=")[2]) == price and (("=" in text) == (name != ANY))


@pytest.mark.parametrize("text", ["", "=", "gpu=", "=3", "gpu=x", "gpu=-1", "nan", "1e3", "*=3", "gpu=3,06", " =1"])
def test_other_texts_are_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ConfigError, match=r"write TYPE=PER_HOUR, such as gpu=3\.06, or a number for all machines"):
        parse_prices([text])


def test_a_type_has_one_price() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_prices(["gpu=1", "2", "gpu=3", "4"])
    assert caught.value.problems == (
        "--price gpu=3: 'gpu' has the price 1 already; give it once",
        "--price 4: any machine has the price 2 already; give it once",
    )


@pytest.mark.parametrize("price", [-1.0, math.nan, math.inf, True, "3"])
def test_a_price_in_a_study_file_is_checked_like_one_that_is_typed(price: float) -> None:
    [problem] = price_problems({"gpu": price})
    assert repr(price) in problem and "a number from 0 on" in problem


def test_a_type_has_its_own_price_before_that_of_all() -> None:
    prices = {"gpu": 3.0, ANY: 1.0}
    assert [price_of(prices, name) for name in ("gpu", "cpu", None)] == [3.0, 1.0, None]
    assert price_of({"gpu": 3.0}, "cpu") is None


@pytest.mark.parametrize(
    ("prices", "said"),
    [
        ({"gpus": 3.0}, ["--price gpus=3: no machine is of the type 'gpus'", "did you mean 'gpu'?", "gpu, head, old"]),
        ({"head": 0.2}, ["machines of the type 'gpu' run trials and have no price; add --price gpu=PER_HOUR"]),
    ],
)
def test_prices_and_machines_must_go_together(prices: dict[str, float], said: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        check_types(prices, ["gpu"], ["head", "gpu", "old"])
    assert [part for part in said if part not in str(caught.value)] == []


@pytest.mark.parametrize("prices", [{}, {"gpu": 1.0}, {ANY: 1.0}, {"gpu": 1.0, "head": 0.1}, {"gpu": 1.0, "old": 2.0}])
def test_machines_that_run_no_trials_need_no_price(prices: dict[str, float]) -> None:
    check_types(prices, ["gpu"], ["head", "gpu", "old"])
