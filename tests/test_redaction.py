"""Secrets do not come through; everything else does."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytl.redaction import MARK, redacted, redacted_values

CANARY = "canary-7f3a9e51"


@pytest.mark.parametrize(
    "name",
    ["HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "DB_PASSWORD", "PGPASSWORD", "OPENAI_API_KEY", "GIT_CREDENTIALS", "SSH_KEY"],
)
def test_the_value_of_a_secret_variable_is_replaced_wherever_it_stands(name: str) -> None:
    assert redacted(f"no {CANARY}, no x{CANARY}y", {name: CANARY}) == f"no {MARK}, no x{MARK}y"


@pytest.mark.parametrize("name", ["HOME", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE", "GIT_AUTHOR_NAME", "KEYBOARD"])
def test_other_variables_are_left_alone(name: str) -> None:
    assert redacted(f"in {CANARY}", {name: CANARY}) == f"in {CANARY}"


def test_a_longer_secret_is_not_cut_by_a_shorter_one() -> None:
    assert redacted("abcdefgh12", {"A_TOKEN": "abcdefgh", "B_TOKEN": "abcdefgh12"}) == MARK
    assert redacted("true", {"A_TOKEN": "true"}) == "true", "too short to be one"


@pytest.mark.parametrize(
    "text",
    [
        f"ray://me:{CANARY}@host:10001",
        f"s3://{CANARY}:{CANARY}@bucket/x?y=1",
        f"postgresql+psycopg://u:pa/{CANARY}@host/db",
        f"postgresql+psycopg://u:/{CANARY}/@host:5432/db?x=a@b",
        f"mysql+pymysql://u:12/{CANARY}@host/db",
        f"mysql+pymysql://u@corp:{CANARY}@host/db",
        f"http://u:pa/{CANARY}@host:5000",
        f"https://u:p@{CANARY}@host:5000",
        f"raytl search --wandb-token {CANARY}",
        f"raytl search --api-key={CANARY} --trials 3",
        f"password={CANARY}",
        f"{{'secret': '{CANARY}'}}",
        f"Authorization token: {CANARY}",
        "AKIA" + "B" * 16,
        "ghp_" + "c" * 36,
        "hf_" + "D" * 34,
        f"-----BEGIN RSA PRIVATE KEY-----\n{CANARY}\n-----END RSA PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY-----\n{CANARY}",
    ],
)
def test_shapes_that_give_a_secret_away(text: str) -> None:
    said = redacted(text, {})
    assert MARK in said
    for secret in (CANARY, "B" * 16, "c" * 36, "D" * 34):
        assert secret not in said


@pytest.mark.parametrize(
    "text",
    [
        "loss was NaN in epoch 3 (lr=0.1)",
        "https://host:8080/path",
        "http://host/path@x",
        "http://host:8080/path@x",
        "HTTPS://host:/a:b@x",
        "https://[::1]:8080/path@x",
        "sqlite:////srv/a@b:c/studies.db",
        "s3://bucket/a:b@c",
        "ray://head:10001 as me@head",
        "vit_tiny: 12 tokens of 192 channels",
        "raytl search pictures --set lr=0.01 --backbones tiny_vit",
        "node 10.0.0.1: memory ran out in epoch 2; 3 workers",
    ],
)
def test_ordinary_sentences_stay_as_they_are(text: str) -> None:
    assert redacted(text, {}) == text


@given(st.text(st.characters(exclude_characters="@", exclude_categories=("Z", "C")), min_size=1, max_size=20))
def test_no_password_of_a_database_is_told(password: str) -> None:
    said = redacted(f"sql postgresql+psycopg://me:{password}@host/db: refused", {})
    assert said == f"sql postgresql+psycopg://{MARK}@host/db: refused"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(json_values)
def test_a_json_value_without_secrets_stays_as_it_is(value: object) -> None:
    assert redacted_values(value) == value


def test_secrets_are_found_at_any_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY_TOKEN", CANARY)
    values = {"spec": {"address": f"ray://{CANARY}", "backbones": ["a", f"b{CANARY}"]}, "commands": (f"x {CANARY}",)}
    assert CANARY not in json.dumps(redacted_values(values))
