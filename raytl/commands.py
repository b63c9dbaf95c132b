"""What each command does, once its words are understood; prints for a person and returns the exit code.

Torch and Ray take ten seconds to import on a slow machine: the commands that need them import them when called.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from raytl.class_map import read_class_map
from raytl.errors import ConfigError, MachineError
from raytl.machine import cache_folder
from raytl.metric import Metric, find_metric
from raytl.noise import shown
from raytl.on_ray.preflight import check_start, machine_checks
from raytl.output import JSON, QUIET, SHOWN, Output
from raytl.redaction import MARK, redacted
from raytl.results.conclusion import Conclusion
from raytl.results.console import StudyConsole
from raytl.results.copied import seen
from raytl.results.designed import design_lines, design_of
from raytl.results.event_lines import EventLines
from raytl.results.facts import study_limits, study_metric
from raytl.results.folder import StudyFolder, write_atomically
from raytl.results.leaderboard import leaderboard_lines
from raytl.results.live_view import LiveView, is_drawable
from raytl.results.lock import check_free
from raytl.results.log_lines import LogLines, columns_of
from raytl.results.mirror import fetch
from raytl.results.report import report_page, write_report
from raytl.results.result_only import ResultOnly
from raytl.results.tables import Tables, compact, load_tables
from raytl.results.view import View
from raytl.study import Study, study_of_values

if TYPE_CHECKING:
    from raytl.on_ray.driver import Outcome


def search(study: Study, out: Path, dry_run: bool = False, changed_data: bool = False, output: Output = SHOWN) -> int:
    """Runs a study and tells its result; exit code 5 where trials have no figure."""
    check_whole(study)
    check_free(StudyFolder(out))
    check_start(study, out)
    view = make_view(output, find_metric(study.metric))
    with shown(output.verbose), view:
        view.begin(study, out)
        from raytl.on_ray.driver import run_study

        outcome = run_study(study, out, view.say, view, dry_run, changed_data)
    if dry_run:
        if outcome.estimate is not None:
            view.estimated(outcome.estimate)
        return 0
    return _conclude(outcome, study, view)


def make_view(output: Output, metric: Metric, console: Console | None = None) -> View:
    """Whoever shows the study: by what was asked for, and by what the console can do."""
    if output.mode == JSON:
        return EventLines(metric)
    console = console or StudyConsole(highlight=False)
    if output.mode == QUIET:
        return ResultOnly(metric, console)
    return LiveView(metric, console) if is_drawable(console) else LogLines(metric, console)


def resume(root: Path, changes: Mapping[str, Any], changed_data: bool, output: Output = SHOWN) -> int:
    """Goes on with the study in a folder, some of its fields replaced."""
    folder, storage = StudyFolder(root), changes.get("storage")
    if storage and not folder.study_json.exists():
        print(f"{fetch(storage, folder)} files fetched from {redacted(storage)}", file=sys.stderr)
    _check_not_rerun(root, folder.read_study())
    before = study_of_values(folder.read_spec())
    study = replace(before, **{**changes, "prices": {**before.prices, **changes.get("prices", {})}})
    return search(study, root, changed_data=changed_data, output=output)


def _check_not_rerun(root: Path, values: Mapping[str, object]) -> None:
    """A repeated trial's folder holds that one trial under a study's name; going on would search in it."""
    of = values.get("rerun_of")
    if isinstance(of, Mapping):
        folder, name = of.get("folder"), of.get("trial_id")
        raise ConfigError(
            f"{root}: holds the trial {name} of {folder}, which `raytl rerun` repeated; only a whole study can go on: "
            f"type `raytl resume {folder}` for that, or `raytl rerun {folder} {name} --out DIR` to repeat it once more"
        )


def check_whole(study: Study) -> None:
    """What `study.json` keeps of a text with a secret in it is not enough to use it."""
    names = [name for name in ("data", "address", "storage") if MARK in (getattr(study, name) or "")]
    problems = [f"{name}={getattr(study, name)!r}: secrets are not kept; give --{name} again" for name in names]
    problems += [
        f"more_data={each!r}: secrets are not kept; give all {1 + len(study.more_data)} sources again, --data for each"
        for each in study.more_data
        if MARK in each
    ]
    if problems:
        raise ConfigError(*problems)


def _conclude(outcome: Outcome, study: Study, view: View) -> int:
    folder = outcome.folder
    tables, metric = load_tables(folder), find_metric(study.metric)
    view.concluded(Conclusion(folder, tables, metric, outcome.exit_code, study.design, study.limits))
    if outcome.exit_code:
        print(
            f"raytl: {outcome.without_figure} of {outcome.trials} trials failed or diverged (see {folder.report}); "
            f"all that was recorded is kept in {folder.root}; type `raytl list {folder.root}` to see it",
            file=sys.stderr,
        )
    return outcome.exit_code


def report(place: Path | str) -> int:
    """Writes tables and report anew; of a study at an address the report alone, into the working folder."""
    with seen(place) as folder:
        folder.read_study()
        if isinstance(place, str):
            page = report_page(folder.root, folder.read_study(), load_tables(folder), redacted(place))
            target = Path(f"{folder.root.name}-report.html")
            write_atomically(target, page.encode(), "report")
            print(target)
            return 0
        if folder.ledger.is_dir():
            compact(folder)
        print(write_report(folder, load_tables(folder)))
    return 0


def show(place: Path | str) -> int:
    """Prints the leaderboard of a study in a folder or at an address."""
    with seen(place) as folder:
        values, tables = folder.read_study(), load_tables(folder)
    metric, columns = study_metric(values), columns_of(Console())
    effects = design_lines(design_of(values), tables, metric, columns)
    print("\n".join([*leaderboard_lines(tables, metric, columns, study_limits(values)), *effects]))
    return 0


def give_results(root: Path, csv: Path | None, url: str | None, mlflow: str | None = None) -> int:
    """Writes a study's tables as CSV files or into a database, sends its runs to an MLflow store, or all of these."""
    if csv is None and url is None and mlflow is None:
        raise ConfigError("results: where to? Give --csv FOLDER, --sql URL or --mlflow URI, or several of them")
    folder, name = StudyFolder(root), root.resolve().name
    values, tables = folder.read_study(), load_tables(folder)
    if mlflow is not None:
        _send_runs(folder, tables, mlflow)
    if csv is None and url is None:
        return 0
    from raytl.results.exchange import exchange_tables, write_csv, write_sql

    content = exchange_tables(name, values, tables)
    if csv is not None:
        for path in write_csv(csv, content):
            print(f"{path}: {content[path.stem].num_rows:,} rows")
    if url is not None:
        write_sql(url, content)
        rows = ", ".join(f"{name} {table.num_rows:,}" for name, table in content.items())
        print(f"{redacted(url)}: rows of this study are now {rows}")
    return 0


def _send_runs(folder: StudyFolder, tables: Tables, uri: str) -> None:
    from raytl.results.mlflow_store import send_runs
    from raytl.results.run_sheets import run_sheets

    name = folder.root.resolve().name
    sent = send_runs(uri, name, run_sheets(folder, tables))
    print(
        f"{redacted(uri)}: experiment {name}: {sent.new:,} runs new, {sent.changed:,} brought up to date, "
        f"{sent.same:,} as they were"
    )


def check_data(data: Sequence[str], class_map: Path | None = None) -> int:
    """Opens every picture of all sources, taken together, and says what was found; 4 where a study would refuse them.

    `class_map` is a CSV file that groups classes.
    """
    groups = read_class_map(class_map) if class_map else {}
    from raytl.data.album import MOST_BAD, describe, open_album
    from raytl.data.location import locate

    album = open_album([locate(each, cache_folder()) for each in data], allow_bad=True, class_map=groups)
    print("\n".join(describe(album)))
    files = Counter(row.label for row in album.pictures)
    bad = Counter(row.label for row in album.pictures if row.status == "bad")
    refused = [label for label in sorted(bad) if bad[label] > MOST_BAD * files[label]]
    if refused:
        print(
            f"raytl: more than {MOST_BAD:.0%} of the files of {', '.join(refused)} cannot be used; "
            "no file was changed; mend or remove those listed above, then type the command again",
            file=sys.stderr,
        )
    return 4 if refused else 0


def write_data_sample(sample: str, folder: Path) -> int:
    """Writes an embedded data set as a folder of classes; `drawn-flowers:20` with so many pictures a class."""
    from raytl.data.samples import sized_name, write_sample

    name, per_class = sized_name(sample)
    print(write_sample(name, folder, per_class))
    return 0


def fetch_data(name: str, folder: Path | None, archive: Path | None) -> int:
    """Brings a public data set to a folder of classes and says what to type next."""
    from raytl.data.fetch import fetch as fetch_public

    target = fetch_public(name, folder, archive, cache_folder(), lambda line: print(line, flush=True))
    print(f"{target}: there; type `raytl search {target}`, or `raytl data check {target}` first")
    return 0


def doctor(out: Path) -> int:
    """Prints what the machine has, check by check; exit code 3 where something that every study needs is missing."""
    checks = machine_checks(out)
    print("\n".join(check.line for check in checks))
    failed = [check.name for check in checks if not check.passed]
    if failed:
        raise MachineError(f"{', '.join(failed)}: see above what is needed and what to do")
    return 0
