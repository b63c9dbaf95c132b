"""What the server takes and gives, as an OpenAPI 3.1 document, and as a page for people that needs no network."""

from __future__ import annotations

import json
from typing import Any

from raytl.results.page import Html, document, note, section, tag, text_table
from raytl.use.bounds import MEGABYTE, Bounds
from raytl.use.sight import ServedModel

Json = dict[str, Any]

_PROBLEMS = {
    "400": "the request cannot be read: fields, JSON, base64, or wishes",
    "408": "the body did not come in time",
    "413": "the body is too large, or has too many pictures",
    "415": "neither a form nor JSON, or no file is a picture by its content",
    "421": "the server was called by a foreign host name",
    "422": "no picture could be read",
    "500": "the server could not answer",
    "503": "busy: Retry-After says in how many seconds to come again",
}


def schema(served: ServedModel, bounds: Bounds) -> Json:
    """The OpenAPI document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"raytl serve: {served.name}",
            "version": served.version,
            "description": f"Classifies pictures as one of {len(served.classes)} classes. No address is ever fetched.",
        },
        "paths": {
            "/predict": {"post": _predict(bounds)},
            "/health": {"get": _health()},
            "/openapi.json": {"get": _get("This document", "application/json", {"type": "object"})},
            "/docs": {"get": _get("This document as a page", "text/html", {"type": "string"})},
            "/": {"get": _get("A page to try the model on", "text/html", {"type": "string"})},
        },
        "components": {"schemas": _schemas(served, bounds)},
    }


def _predict(bounds: Bounds) -> Json:
    form = {"multipart/form-data": _reference("Form"), "application/json": _reference("Pictures")}
    problems = {status: _response(text, "Problem") for status, text in _PROBLEMS.items()}
    problems["503"]["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}}
    size = f"at most {bounds.most_pictures} pictures and {bounds.most_bytes / MEGABYTE:g} MB"
    return {
        "summary": "Classify pictures",
        "description": f"A request has {size}; a picture has at most {bounds.most_pixels:,} pixels.",
        "requestBody": {"required": True, "content": {kind: {"schema": each} for kind, each in form.items()}},
        "responses": {"200": _response("an answer for each picture, in their order", "Answer"), **problems},
    }


def _health() -> Json:
    busy = _response(_PROBLEMS["503"], "Problem")
    return {
        "summary": "Whether the model answers, and which one it is",
        "responses": {"200": _response("the model has answered for a drawn picture", "Health"), "503": busy},
    }


def _get(summary: str, kind: str, shape: Json) -> Json:
    return {"summary": summary, "responses": {"200": {"description": summary, "content": {kind: {"schema": shape}}}}}


def _response(description: str, name: str) -> Json:
    return {"description": description, "content": {"application/json": {"schema": _reference(name)}}}


def _reference(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _schemas(served: ServedModel, bounds: Bounds) -> Json:
    wishes = {
        "top": {
            "type": "integer",
            "minimum": 1,
            "maximum": len(served.classes),
            "description": "how many of the likeliest classes are told; all, if left out",
        },
        "explain": {"type": "boolean", "default": False, "description": "whether a heat map is drawn"},
    }
    text, count, names = {"type": "string"}, {"maxItems": bounds.most_pictures}, {"type": "array"}
    file = {"type": "array", "items": {"type": "string", "format": "binary"}, **count, "description": "picture files"}
    encoded = {"type": "array", "items": {"type": "string", "contentEncoding": "base64"}, **count}
    sights = {"type": "array", "items": _reference("Sight"), "description": "one for each picture, in their order"}
    health = {"status": {"const": "ok"}, "model": text, "classes": {**names, "items": text}, "version": text}
    problem = {
        "problem": {**text, "description": "the value, the rule and the remedy"},
        "model": text,
        "pictures": sights,
    }
    return {
        "Form": _object({"file": file, **wishes}, "file"),
        "Pictures": _object({"pictures": {**encoded, "description": "picture files as base64"}, **wishes}, "pictures"),
        "Answer": _object({"model": text, "pictures": sights}, "model", "pictures"),
        "Sight": _sight(served),
        "Health": _object(health, *health),
        "Problem": _object(problem, "problem"),
    }


def _sight(served: ServedModel) -> Json:
    share = {"type": "number", "minimum": 0, "maximum": 1}
    fields = {
        "file": {"type": ["string", "null"], "description": "its name in the form, without folders"},
        "predicted": {"enum": list(served.classes), "description": "the likeliest class"},
        "probability": {**share, "description": "of the likeliest class"},
        "probabilities": {
            "type": "object",
            "additionalProperties": share,
            "description": "by class, the likeliest first",
        },
        "batch": {"type": "integer", "description": "how many pictures were computed together, this one included"},
        "problem": {"type": "string", "description": "why the picture could not be read; then there is nothing else"},
        "heat_map": {
            "type": "string",
            "contentEncoding": "base64",
            "contentMediaType": "image/png",
            "description": "the square that the model sees, grey, under what speaks there for the likeliest class",
        },
        "heat_map_box": {
            "type": "array",
            "items": {"type": "number"},
            "minItems": 4,
            "maxItems": 4,
            "description": "where that square lies: left, top, width, height as fractions of the upright picture",
        },
        "heat_map_problem": {"type": "string", "description": "why this model has no heat maps"},
    }
    return _object(fields, "file")


def _object(properties: Json, *required: str) -> Json:
    return {"type": "object", "properties": properties, "required": list(required)}


def docs_page(served: ServedModel, bounds: Bounds) -> str:
    """The same document as a page: every address, what it takes and what it answers."""
    said = schema(served, bounds)
    shapes: Json = said["components"]["schemas"]
    asked = [(path, method, each) for path, methods in said["paths"].items() for method, each in methods.items()]
    sections = [_operation(path, method, each) for path, method, each in asked]
    sections += [section(f"shape-{name}", name, [_fields(shape)]) for name, shape in shapes.items()]
    contents = [(_anchor(path), f"{method.upper()} {path}") for path, method, _ in asked]
    contents += [(f"shape-{name}", name) for name in shapes]
    return document(said["info"]["title"], said["info"]["description"], sections, contents)


def _anchor(path: str) -> str:
    return f"path-{path.strip('/').replace('.', '-') or 'page'}"


def _operation(path: str, method: str, operation: Json) -> Html:
    taken = operation.get("requestBody", {}).get("content", {})
    rows = [[kind, _shape(each["schema"])] for kind, each in taken.items()]
    answers = [
        [status, each["description"], ", ".join(_shape(kind["schema"]) for kind in each["content"].values())]
        for status, each in operation["responses"].items()
    ]
    parts = [note(operation["summary"]), note(operation.get("description", ""))]
    if rows:
        parts += [tag("h3", "Takes"), text_table(("content type", "shape"), rows, len(rows))]
    parts += [tag("h3", "Answers"), text_table(("status", "when", "shape"), answers, len(answers))]
    return section(_anchor(path), f"{method.upper()} {path}", parts)


def _fields(shape: Json) -> Html:
    rows = [
        [name, _shape(each), "yes" if name in shape["required"] else "", each.get("description", "")]
        for name, each in shape["properties"].items()
    ]
    return text_table(("field", "shape", "always", "what it is"), rows, len(rows))


def _shape(each: Json) -> str:
    """A schema in a few words."""
    if "$ref" in each:
        return str(each["$ref"]).rpartition("/")[2]
    if "items" in each:
        return f"list of {_shape(each['items'])}"
    if "enum" in each:
        return "one of the classes"
    if "const" in each:
        return json.dumps(each["const"])
    kind = each["type"] if isinstance(each["type"], str) else " or ".join(each["type"])
    return f"{kind} (base64)" if "contentEncoding" in each else kind
