"""Whether the answers of two studies differ, and in what the studies do: for a person who has run both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any

import numpy as np
import pyarrow.compute as pc

from raytl.choice import nearest
from raytl.errors import ConfigError, DataError
from raytl.results.answer import depth_text, extent
from raytl.results.facts import FinalModel
from raytl.results.history import flatten
from raytl.results.loaded import LoadedStudy
from raytl.results.outcomes import Outcomes, outcomes
from raytl.results.stats import Interval, independent_difference, paired_difference
from raytl.results.wording import NOTHING, percent_interval, points
from raytl.study import Study

NOT_SETTINGS = ("name", "address", "storage")  # what a study is called and where it ran change no figure
SHOWN = 12  # chosen: differing settings that are listed one by one


@dataclass(frozen=True)
class Difference:
    """One value of `study.json` that two studies do not share; None where a study has none."""

    name: str
    a: object
    b: object


@dataclass(frozen=True)
class Pictures:
    """What two studies share of their pictures, by content (sha256), not by path.

    `same`: one fingerprint, thus the same files, classes and split. `seen_a` counts the test pictures of `b` that `a`
    trained on or chose by, `seen_b` the reverse: on these a model of the other study must not be asked.
    """

    same: bool
    count_a: int
    count_b: int
    shared: int
    test_a: int
    test_b: int
    seen_a: int
    seen_b: int
    classes_a: tuple[str, ...]
    classes_b: tuple[str, ...]


@dataclass(frozen=True)
class Contrast:
    """The answers of two studies, and the accuracy of `a`'s less that of `b`'s.

    `shared` counts the test pictures on which the two were compared one by one, `alone` those that only one of them
    read; with none shared the difference is one of independent figures, and `problem` says why.
    """

    a: FinalModel
    b: FinalModel
    difference: Interval
    shared: int
    alone: int
    problem: str | None
    settings: tuple[Difference, ...]
    versions: tuple[Difference, ...]
    pictures: Pictures


def contrast(a: LoadedStudy, b: LoadedStudy, backbone: str | None = None) -> Contrast:
    """Compares the answers of two studies, or their best final models of `backbone`.

    Where both have read some of the same test pictures under the same class, these are compared one by one, on the
    first split of each; else the two figures are independent, and their difference has a wider interval.

    Raises:
        ConfigError: a study has no final model, or none of that backbone.
    """
    model_a, model_b = _model(a, backbone), _model(b, backbone)
    values_a, values_b = a.folder.read_study(), b.folder.read_study()
    difference, shared, alone, problem = _compared(a, model_a, b, model_b)
    return Contrast(
        a=model_a,
        b=model_b,
        difference=difference,
        shared=shared,
        alone=alone,
        problem=problem,
        settings=_differences(_spec(values_a), _spec(values_b)),
        versions=_differences(_part(values_a, "versions"), _part(values_b, "versions")),
        pictures=_pictures(a, values_a, b, values_b),
    )


def contrast_lines(found: Contrast, name_a: str, name_b: str) -> list[str]:
    """What was found, for a person: the two answers, the verdict, and in what the studies differ."""
    return [
        f"A: {name_a}: {_told(found.a)}",
        f"B: {name_b}: {_told(found.b)}",
        verdict(found),
        *_listed("settings", found.settings),
        *_listed("versions", found.versions),
        *_picture_lines(found.pictures),
    ]


def verdict(found: Contrast) -> str:
    """Whether the two differ, by how much, and what that rests on."""
    lead = points(found.difference)
    if math.isnan(found.difference.low):
        said = f"Whether they differ cannot be told: A less B is {lead}, without an interval"
    elif found.difference.excludes_zero:
        said = f"They differ: A less B is {lead}"
    else:
        said = f"They are not told apart: A less B is {lead}"
    if found.shared:
        left = f"; {found.alone:,} that only one of them read are left out" if found.alone else ""
        plural = "s" if found.shared > 1 else ""
        return f"{said}, compared one by one on {found.shared:,} test picture{plural} that both read{left}."
    return f"{said}. They are compared as independent figures: {found.problem}; the interval is wider for it."


def _model(study: LoadedStudy, backbone: str | None) -> FinalModel:
    root, names = study.folder.root, tuple(dict.fromkeys(model.backbone for model in study.final_models))
    if not names:
        raise ConfigError(f"{root}: no final model has been tested yet; `raytl resume {root}` goes on with the study")
    if backbone is not None and backbone not in names:
        raise ConfigError(
            f"--backbone {backbone}: {root} has no final model of it{nearest(backbone, names)}; it has "
            f"{', '.join(names)}"
        )
    return next(model for model in study.final_models if backbone in (None, model.backbone))


def _compared(
    a: LoadedStudy, model_a: FinalModel, b: LoadedStudy, model_b: FinalModel
) -> tuple[Interval, int, int, str | None]:
    unpaired = independent_difference(model_a.test, model_b.test)
    try:
        left, right = _answers(a, model_a), _answers(b, model_b)
    except DataError as error:
        return unpaired, 0, 0, str(error)
    columns = [(left[key], right[key]) for key in sorted(left.keys() & right.keys())]
    if not columns:
        return unpaired, 0, 0, "no test picture of the two is the same under the same class"
    grid_a, grid_b = (np.stack([pair[side] for pair in columns], axis=1) for side in (0, 1))
    return paired_difference(grid_a, grid_b), len(columns), len(left.keys() ^ right.keys()), None


def _answers(study: LoadedStudy, model: FinalModel) -> dict[tuple[str, str], np.ndarray]:
    """Right or wrong of each run (S,), by content and class of the test picture; copies count once."""
    runs = model.runs[min(model.runs)]
    found: Outcomes = outcomes(study.predictions, runs)
    content = dict(zip(*(study.data[name].to_pylist() for name in ("path", "sha256")), strict=True))
    of_run = study.predictions.filter(pc.field("trial_id") == runs[0])
    labels = dict(zip(*(of_run[name].to_pylist() for name in ("path", "label")), strict=True))
    answers: dict[tuple[str, str], np.ndarray] = {}
    for place, path in enumerate(found.paths):
        if content.get(path):
            answers.setdefault((content[path], labels[path]), found.correct[:, place])
    return answers


def _part(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = values.get(name)
    return part if isinstance(part, Mapping) else {}


def _spec(values: Mapping[str, Any]) -> dict[str, object]:
    """The study's fields; those younger than the study at their defaults."""
    made = {item.name: item.default for item in fields(Study) if item.default is not MISSING}
    return {name: value for name, value in {**made, **_part(values, "spec")}.items() if name not in NOT_SETTINGS}


def _differences(a: Mapping[str, object], b: Mapping[str, object]) -> tuple[Difference, ...]:
    left, right = (dict(_comparable(flatten(each))) for each in (a, b))
    return tuple(
        Difference(name, left.get(name), right.get(name))
        for name in dict.fromkeys([*left, *right])
        if left.get(name) != right.get(name)
    )


def _comparable(values: Sequence[tuple[str, object]]) -> list[tuple[str, object]]:
    """Lists and tuples alike, and nothing for what holds nothing."""
    plain = [(name, list(value) if isinstance(value, tuple) else value) for name, value in values]
    return [(name, value) for name, value in plain if value not in ({}, [])]


def _pictures(a: LoadedStudy, values_a: Mapping[str, Any], b: LoadedStudy, values_b: Mapping[str, Any]) -> Pictures:
    splits_a, splits_b = _by_content(a), _by_content(b)
    (test_a, known_a), (test_b, known_b) = (_test_and_known(splits) for splits in (splits_a, splits_b))
    print_a, print_b = values_a.get("data_fingerprint"), values_b.get("data_fingerprint")
    return Pictures(
        same=print_a is not None and print_a == print_b,
        count_a=len(splits_a),
        count_b=len(splits_b),
        shared=len(splits_a.keys() & splits_b.keys()),
        test_a=len(test_a),
        test_b=len(test_b),
        seen_a=len(known_a & test_b),
        seen_b=len(known_b & test_a),
        classes_a=_classes(a),
        classes_b=_classes(b),
    )


def _by_content(study: LoadedStudy) -> dict[str, set[str]]:
    """The splits of each picture in use, by its content."""
    found: dict[str, set[str]] = {}
    for row in study.data.select(["sha256", "split", "status"]).to_pylist():
        if row["status"] != "bad" and row["split"] is not None and row["sha256"]:
            found.setdefault(row["sha256"], set()).add(row["split"])
    return found


def _test_and_known(splits: Mapping[str, set[str]]) -> tuple[set[str], set[str]]:
    test = {content for content, names in splits.items() if "test" in names}
    return test, {content for content, names in splits.items() if names & {"train", "val"}}


def _classes(study: LoadedStudy) -> tuple[str, ...]:
    return tuple(sorted(set(study.data["class"].to_pylist())))


def _told(model: FinalModel) -> str:
    return (
        f"{model.backbone}, {model.role}, {depth_text(model)}: {percent_interval(model.test)} test accuracy over "
        f"{extent(model)}"
    )


def _listed(what: str, differences: Sequence[Difference]) -> list[str]:
    if not differences:
        return [f"{what}: the same"]
    lines = [f"  {each.name}: {_shown(each.a)} in A, {_shown(each.b)} in B" for each in differences[:SHOWN]]
    more = len(differences) - SHOWN
    return [f"{what} that differ:", *lines, *([f"  and {more} more, in the two study.json"] if more > 0 else [])]


def _shown(value: object) -> str:
    if value is None:
        return NOTHING
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _picture_lines(found: Pictures) -> list[str]:
    if found.same:
        return ["pictures: the same files under the same split"]
    lines = [
        f"pictures: {found.count_a:,} in A ({found.test_a:,} to test on), {found.count_b:,} in B ({found.test_b:,}); "
        f"{found.shared:,} are in both, by content"
    ]
    alone = [
        (side, sorted(set(own) - set(other)))
        for side, own, other in (("A", found.classes_a, found.classes_b), ("B", found.classes_b, found.classes_a))
    ]
    lines += [f"  classes in {side} alone: {', '.join(names)}" for side, names in alone if names]
    for seen, reader, owner in ((found.seen_a, "A", "B"), (found.seen_b, "B", "A")):
        if seen:
            lines.append(f"  {seen:,} of {owner}'s test pictures were in {reader}'s training or validation")
    return lines
