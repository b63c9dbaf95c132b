"""The schema says what is answered, and its page needs no network."""

from __future__ import annotations

import re
from typing import Any

import jsonschema
import pytest
from starlette.types import ASGIApp

from raytl.use.bounds import Bounds
from raytl.use.openapi import docs_page, schema
from tests.served import LIMITS, SERVED, direct_app, get, png, post_form, post_json, saved_model


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> ASGIApp:
    return direct_app(saved_model(tmp_path_factory.mktemp("model") / "tiny"))


def check(document: dict[str, Any], path: str, method: str, status: int, said: object) -> None:
    """Raises where an answer is not what the document says of it; fields that it does not know are wrong, too."""
    response = document["paths"][path][method]["responses"][str(status)]
    shape = response["content"]["application/json"]["schema"]
    components = {
        name: {**each, "additionalProperties": False} for name, each in document["components"]["schemas"].items()
    }
    jsonschema.Draft202012Validator({**shape, "components": {"schemas": components}}).validate(said)


def test_answers_are_as_the_schema_says(app: ASGIApp) -> None:
    document = get(app, "/openapi.json").said
    assert document == schema(SERVED, LIMITS) and document["openapi"] == "3.1.0"
    check(document, "/health", "get", 200, get(app, "/health").said)
    for reply in (
        post_form(app, {"x.png": png(1), "y.png": b"no picture"}, {"explain": "true", "top": "2"}),
        post_form(app, {"x.png": b"no picture"}),
        post_form(app, {"x.png": png(1)[:-40]}),
        post_json(app, {}),
    ):
        check(document, "/predict", "post", reply.status, reply.said)
    with pytest.raises(jsonschema.ValidationError):
        check(document, "/predict", "post", 200, {"model": "tiny", "pictures": [{"predicted": "no class"}]})


def test_every_address_and_every_status_is_told(app: ASGIApp) -> None:
    document = schema(SERVED, LIMITS)
    assert set(document["paths"]) == {"/", "/docs", "/openapi.json", "/health", "/predict"}
    for path, methods in document["paths"].items():
        assert get(app, path, next(iter(methods)).upper()).status != 404
    statuses = ["200", "400", "408", "413", "415", "421", "422", "500", "503"]
    assert sorted(document["paths"]["/predict"]["post"]["responses"]) == statuses


def test_limits_stand_in_the_schema() -> None:
    document = schema(SERVED, Bounds(most_bytes=7_000_000, most_pictures=5))
    assert "at most 5 pictures and 7 MB" in document["paths"]["/predict"]["post"]["description"]
    assert document["components"]["schemas"]["Pictures"]["properties"]["pictures"]["maxItems"] == 5


def test_the_page_tells_it_all_and_fetches_nothing() -> None:
    page = docs_page(SERVED, LIMITS)
    assert not re.search(r"https?://|<script|<link|src=", page)
    for word in ("POST /predict", "GET /health", "multipart/form-data", "Retry-After", "heat_map_box", "413"):
        assert word in page
    assert all(f'id="{anchor}"' in page for anchor in re.findall(r'href="#([\w-]+)"', page))
