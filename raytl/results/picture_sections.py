"""Parts of the report about pictures and the run: confusions, classes, data, incidents and how to run it again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence

import numpy as np

from raytl.results.confusion import Confusion
from raytl.results.facts import FinalModel
from raytl.results.health import Copies, Finding, Health
from raytl.results.history import Incident, flatten
from raytl.results.page import Html, classed, note, photograph, section, table, tag, text_table
from raytl.results.wording import NOTHING, count, percent

COUNTED_CLASSES = 25  # chosen: above it numbers do not fit the cells
DRAWN_CLASSES = 60  # chosen: above it a matrix is too large to read, and its most frequent mistakes are listed
LISTED = 50  # chosen: rows of a list; the tables have all
NAMED_TRIALS = 3
FOLDED = "backbones."
HOT_SHARE = 0.75  # chosen: from here on the shade asks for white figures

NO_HEAT = "No final model has been published yet, or its heat maps were removed."

Matrix = tuple[FinalModel, Confusion | None]
Heat = tuple[str, bytes]  # a backbone's name and a JPEG


def confusion_section(matrices: Sequence[Matrix]) -> Html:
    """Confusion matrices, the best final model of each backbone."""
    about = (
        "The best final model of each backbone, its seeds added up. Rows are true classes, columns predicted ones; "
        "the shade is the share of the row."
    )
    panels = [_matrix(model, confusion) for model, confusion in matrices if confusion]
    content = [note(about), classed("div", "panels", panels)] if panels else [note("No prediction is recorded.")]
    return section("confusion", "Confusion matrices", content)


def classes_section(model: FinalModel | None, confusion: Confusion | None) -> Html:
    """Precision, recall and F1 of each class for the best final model."""
    if model is None or confusion is None:
        return section("classes", "Classes", [note("No prediction is recorded.")])
    runs = len(model.trial_ids)
    rows = [
        (row.name, count(row.count / runs), percent(row.precision), percent(row.recall), percent(row.f1))
        for row in confusion.figures()
    ]
    about = (
        f"{model.backbone}, {model.role}; runs added up: {runs}. Always answering the most frequent class would "
        f"reach {percent(confusion.largest_share())}."
    )
    header = ("class", "test pictures", "precision", "recall", "F1")
    return section("classes", "Classes", [note(about), table(header, rows)])


def heat_section(drawn: Sequence[Heat]) -> Html:
    """Where the final models look, in their worst mistakes and in some right answers."""
    about = (
        "Test pictures as the model sees them, and in colour what speaks for the class it predicts (Grad-CAM): red "
        "most, blue little, grey nothing or what speaks against it. The worst mistakes come first, then right answers. "
        "A map is as coarse as what the head reads, and shows where, not why: heat on a background that goes with a "
        "class warns of a model that learned the background."
    )
    panels = [
        tag("div", [tag("h3", name), photograph(jpeg, f"Heat maps of {name} over test pictures")])
        for name, jpeg in drawn
    ]
    return section("heat", "Where the models look", [note(about), *panels] if panels else [note(NO_HEAT)])


def health_section(health: Health) -> Html:
    """Pictures by class and split, and what was found among the files."""
    if not health.counts and not health.bad:
        return section("data", "Data", [note("The table of pictures is empty.")])
    rows = [(label, *(count(by.get(split, 0)) for split in health.splits)) for label, by in health.counts.items()]
    rows.append(("all", *(count(health.total(split)) for split in health.splits)))
    return section(
        "data",
        "Data",
        [
            table(("class", *health.splits), rows),
            *_findings("Left out: files that cannot be used", health.bad),
            *_findings("Suspects: may be no true pictures of their class", health.suspects),
            *_copies("Copies that lie in several splits: they make figures too good", health.across_splits),
            *_copies("Copies under several classes: at most one label is right", health.across_classes),
            note(_summary(health)),
        ],
    )


def incidents_section(found: Sequence[Incident], problems: Sequence[str]) -> Html:
    """Trials that did not end well, notes on others, and ledger files that could not be read."""
    rows = [(incident.status, count(len(incident.trial_ids)), incident.reason, _named(incident)) for incident in found]
    parts = [text_table(("status", "trials", "reason", "such as"), rows, LISTED)] if rows else []
    parts += [classed("p", "warn", problem) for problem in problems]
    return section(
        "incidents", "What went wrong, and notes", parts or [note("Nothing: every trial ended as it should.")]
    )


def run_section(study: Mapping[str, object], folder: str) -> Html:
    """The study as run, and how to run it again."""
    values = flatten(study)
    command = next((_command(value) for name, value in values if name.split(".")[-1] == "command"), None)
    again = [note("Run it again:"), tag("pre", command)] if command else [note("study.json names no command.")]
    where = shlex.quote(folder)
    rest = [note("Go on with it, or make this page anew:"), tag("pre", f"raytl resume {where}\nraytl report {where}")]
    return section("run", "How it was run", [*again, *rest, *_study_tables(values)])


def _study_tables(values: Sequence[tuple[str, object]]) -> list[Html]:
    """All of `study.json`; what it says of each backbone is long, and folded away."""
    rows = [(name, _value(value)) for name, value in values]
    header = ("study.json", "value")
    short = [row for row in rows if not row[0].startswith(FOLDED)]
    long = [row for row in rows if row[0].startswith(FOLDED)]
    parts = [text_table(header, short, len(short))]
    if long:
        summary = tag("summary", "Each backbone: stages, default recipe, search space, weights")
        parts.append(tag("details", [summary, text_table(header, long, len(long))]))
    return parts


def _matrix(model: FinalModel, confusion: Confusion) -> Html:
    title = tag("h3", f"{model.backbone}, {model.role}")
    if len(confusion.classes) > DRAWN_CLASSES:
        mistakes = [(true, said, count(times)) for true, said, times in confusion.mistakes()]
        return tag("div", [title, text_table(("true", "predicted", "times"), mistakes, LISTED)])
    size = "counted" if len(confusion.classes) <= COUNTED_CLASSES else "small"
    shares = confusion.counts / confusion.counts.sum(axis=1, keepdims=True).clip(1)
    head = tag("tr", [tag("th"), *(tag("th", name) for name in confusion.classes)])
    rows = [
        tag("tr", [tag("th", name), *_matrix_cells(shares[index], confusion.counts[index])])
        for index, name in enumerate(confusion.classes)
    ]
    whole = tag("table", [tag("thead", [head]), tag("tbody", rows)], {"class": f"matrix {size}"})
    return tag("div", [title, classed("div", "scroll", [whole])])


def _matrix_cells(shares: np.ndarray, counts: np.ndarray) -> list[Html]:
    counted = len(counts) <= COUNTED_CLASSES
    return [
        tag(
            "td",
            str(number) if counted and number else "",
            {"style": f"--share:{share:.3f}", "class": "hot" if share > HOT_SHARE else "", "title": f"{number}"},
        )
        for share, number in zip(shares, counts, strict=True)
    ]


def _findings(title: str, found: Sequence[Finding]) -> list[Html]:
    rows = [(finding.path, finding.label, finding.split or NOTHING, finding.reason) for finding in found]
    header = ("file", "class", "split", "reason")
    return [tag("h3", f"{title} ({len(rows):,})"), text_table(header, rows, LISTED)] if rows else []


def _copies(title: str, found: Sequence[Copies]) -> list[Html]:
    rows = [("\n".join(copies.paths), ", ".join(copies.classes), ", ".join(copies.splits)) for copies in found]
    header = ("files", "classes", "splits")
    return [tag("h3", f"{title} ({len(rows):,})"), text_table(header, rows, LISTED)] if rows else []


def _summary(health: Health) -> str:
    return (
        f"Files left out: {len(health.bad):,}. Suspects: {len(health.suspects):,}. "
        f"Groups of files with the same content: {len(health.copies):,}."
    )


def _named(incident: Incident) -> str:
    more = len(incident.trial_ids) - NAMED_TRIALS
    return ", ".join(incident.trial_ids[:NAMED_TRIALS]) + (f" and {more:,} more" if more > 0 else "")


def _value(value: object) -> str:
    """A value of `study.json` on one line."""
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return ", ".join(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _command(value: object) -> str:
    """A command as one would type it."""
    return shlex.join(value) if isinstance(value, list) else str(value)
