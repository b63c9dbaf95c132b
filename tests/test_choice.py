"""Choices with arguments: what is written comes back, and errors say value, rule and remedy."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytl.choice import SYNONYMS, Choice, Number, Rule, nearest, parse
from raytl.recipe import ATTENTIONS, AUGMENTS, EARLY_STOPS, FIELD_NAMES, HEADS, SCHEDULES

FIELDS = {
    "head": HEADS,
    "attention": ATTENTIONS,
    "schedule": SCHEDULES,
    "early_stop": EARLY_STOPS,
    "augment": AUGMENTS,
}
RULES = {"plain": Rule("plain"), "pair": Rule("pair:1,0.5", (Number(low=1), Number(high=1)))}


@st.composite
def written_choices(draw: st.DrawFn) -> tuple[str, str, Choice]:
    """A field, a text that its rules allow, and what the text means."""
    field = draw(st.sampled_from(sorted(FIELDS)))
    name = draw(st.sampled_from(sorted(FIELDS[field])))
    rule = FIELDS[field][name]
    extra = draw(st.integers(0, max(0, rule.most - len(rule.numbers))))
    allowed = [*rule.numbers, *rule.numbers[-1:] * extra]
    arguments = tuple(draw(numbers(number)) for number in allowed)
    text = name + (":" if arguments else "") + rule.separator.join(map(repr, arguments))
    return field, text, Choice(name, arguments)


def numbers(number: Number) -> st.SearchStrategy[float]:
    high = min(number.high, 1e6)
    if number.whole:
        return st.integers(int(number.low), int(high)).map(float)
    return st.floats(number.low, high).filter(lambda value: "e-" not in repr(value))  # "-" parts the widths of a head


@given(written_choices())
def test_what_is_written_is_what_is_read(written: tuple[str, str, Choice]) -> None:
    field, text, choice = written
    assert parse(field, text, FIELDS[field]) == choice


@pytest.mark.parametrize("field", FIELDS)
def test_every_example_is_allowed(field: str) -> None:
    for name, rule in FIELDS[field].items():
        choice = parse(field, rule.example, FIELDS[field])
        assert choice.name == name
        assert len(choice.arguments) >= len(rule.numbers)


@given(st.text(max_size=12))
def test_any_other_text_is_refused_with_its_value(text: str) -> None:
    try:
        choice = parse("field", text, RULES)
    except ValueError as error:
        assert str(error).startswith(f"field={text!r}: ")
        assert "plain" in str(error) or "pair:1,0.5" in str(error)
    else:
        assert choice.name in RULES and all(map(math.isfinite, choice.arguments))


@pytest.mark.parametrize(
    ("text", "rule", "remedy"),
    [
        ("pare:1,0.5", "unknown choice; known: plain, pair:1,0.5", "did you mean 'pair'?"),
        ("pair", "takes 2 numbers after 'pair'", "write it like 'pair:1,0.5'"),
        ("pair:1", "takes 2 numbers after 'pair'", "write it like 'pair:1,0.5'"),
        ("pair:1,0.5,3", "takes 2 numbers after 'pair'", "write it like 'pair:1,0.5'"),
        ("plain:1", "takes no numbers after 'plain'", "write it like 'plain'"),
        ("pair:x,0.5", "'x' is no number", "write it like 'pair:1,0.5'"),
        ("pair:0,0.5", "0 must be a finite number, at least 1", "write it like 'pair:1,0.5'"),
        ("pair:1,1.5", "1.5 must be a finite number, at least 0, at most 1", "write it like 'pair:1,0.5'"),
        ("pair:nan,0.5", "nan must be a finite number", "write it like 'pair:1,0.5'"),
        ("pair:inf,0.5", "inf must be a finite number", "write it like 'pair:1,0.5'"),
    ],
)
def test_an_error_says_value_rule_and_remedy(text: str, rule: str, remedy: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse("field", text, RULES)
    message = str(caught.value)
    assert message.startswith(f"field={text!r}: ")
    assert rule in message
    assert message.endswith(remedy)


@pytest.mark.parametrize("known", SYNONYMS.values())
def test_what_others_call_a_field_leads_to_a_field_that_there_is(known: str) -> None:
    assert known in FIELD_NAMES and not set(SYNONYMS) & set(FIELD_NAMES)


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("learning_rate", "lr"),
        ("learning-rate", "lr"),
        ("LR0", "lr"),
        ("batch", "batch_size"),
        ("wd", "weight_decay"),
        ("freeze", "freeze_depth"),
        ("img_size", "image_size"),
    ],
)
def test_a_name_of_other_libraries_is_understood(name: str, field: str) -> None:
    assert nearest(name, FIELD_NAMES) == f", did you mean {field!r}?"
    assert nearest(name, ("cosine", "step")) == ""


def test_a_near_name_is_offered_and_a_far_one_is_not() -> None:
    assert nearest("cosin", ("cosine", "step")) == ", did you mean 'cosine'?"
    assert nearest("zzz", ("cosine", "step")) == ""
