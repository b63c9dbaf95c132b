"""What one driver can serve: 20,000 trials on 200 nodes, searched, decided and recorded by raytl, trained on paper.

Command:   python experiments/benchmarks/simulation.py [--nodes 200] [--trials 20000] [--quick] [--out FILE or DIR]
           [--searcher hyperopt,optuna,random]
Hardware:  one processor core, 2 GB of memory, 1 GB of disk, no network
Minutes:   4
Expected:  epochs of 10 s do not wait for the driver on 200 nodes, epochs of 60 s not with 8 trials on each of them

Searcher, ASHA, ledger and TensorBoard are raytl's own, called as in a study of one backbone (the worst case: a model's
cost depends on the trials of its backbone). Tune's controller and the workers are a loop over events in virtual time,
with made-up curves (`simulated.py`): what Tune itself takes for an event is not in the figures.

A search of all trials is simulated once, with random points, its rows gathered into few commits and without TensorBoard
(`gathered`). Its ledger as it was after 1,000, 2,000 ... trials is then gone on from by fresh processes, one for each
searcher, as from a killed study: they read it, rebuild the rungs, tell the searcher, take up the open trials, and go on
for some more, each row a commit of its own. Column A is milliseconds for a suggestion and the beginning of its trial, B
for recording and deciding on one epoch, `epochs/s` counts both; a driver keeps up with n trials at a time if their
epochs take n divided by epochs/s seconds. All are processor time and waits for disk (`effort.py`). Memory is the peak
of the whole process. The check: the ledger has the epochs that were simulated, all trials have ended, and each stop is
that of successive halving by hand (`halving.py`) in the ledger's order.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from effort import Meter, undisturbed
from gathering import gathered
from halving import stops
from measure import Finding, Goal, conclude, parser
from paper import EPOCHS, make_plan
from simulated import METRIC, simulated
from tables import peak_bytes

from raytl.metric import find_metric
from raytl.on_ray.cluster import Slots
from raytl.on_ray.deadline import Deadline
from raytl.on_ray.experiment import run_stages
from raytl.on_ray.job import Workplace
from raytl.on_ray.schedulers import REDUCTION
from raytl.on_ray.search import Search
from raytl.results.folder import StudyFolder
from raytl.results.ledger import Ledger
from raytl.results.recorder import Recorder
from raytl.results.tables import Tables, load_tables

NODES, TRIALS, QUICK_NODES, QUICK_TRIALS = 200, 20_000, 10, 120
PER_NODE = 8  # GPUs that a large node has
MARKS = (1_000, 2_000, 5_000, 10_000, 20_000)
MORE = 60  # chosen: trials that are begun and measured at each mark, beside those taken up
SEARCHERS = ("random", "hyperopt", "optuna")
SHORTEST = {1: Goal(10, at_least=False), PER_NODE: Goal(60, at_least=False)}  # seconds, by trials on a node


@dataclass(frozen=True)
class Ended:
    """The whole simulated search: what it left, and what is wrong with it."""

    trials: int
    epochs: int
    ledger_bytes: int
    ledger_files: int
    load_seconds: float
    problems: list[str]


@dataclass(frozen=True)
class Mark:
    """What a driver does after some trials: seconds to take the search up, then milliseconds a suggestion and a result.

    `base_bytes` is the memory before it, `peak_bytes` after.
    """

    resume_seconds: float
    suggest_ms: float
    result_ms: float
    disk_share: float
    epochs_per_second: float
    base_bytes: int
    peak_bytes: int


def main() -> None:
    options = _parse()
    marks = marks_of(options.trials)
    found: list[Finding] = []
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        ended = alone(history, options.nodes, options.trials, place)
        print(f"{ended.trials:,} trials, {ended.epochs:,} epochs simulated", flush=True)
        for searcher in options.searcher:
            at = {}
            for mark in marks:
                shutil.copytree(place / str(mark), place / searcher / str(mark))
                at[mark] = alone(gone_on, searcher, options.nodes, mark, place / searcher / str(mark))
            found += findings(searcher, options.nodes, at)
    conclude([*found, *whole(ended)], options)


def _parse() -> argparse.Namespace:
    made = parser(__doc__, "simulation")
    made.add_argument("--nodes", type=int, help=f"default: {NODES}")
    made.add_argument("--trials", type=int, help=f"default: {TRIALS}")
    made.add_argument("--searcher", default=",".join(SEARCHERS), help="default: %(default)s")
    options = made.parse_args()
    options.nodes = options.nodes or (QUICK_NODES if options.quick else NODES)
    options.trials = options.trials or (QUICK_TRIALS if options.quick else TRIALS)
    options.searcher = options.searcher.split(",")
    if options.out.suffix != ".parquet":
        options.out /= "simulation.parquet"
    return options


def alone(work: Callable[..., Any], *given: object) -> Any:
    """What `work` returns, done in a process of its own, whose peak of memory is its own."""
    with get_context("fork").Pool(1) as pool:  # everything is imported in it
        return pool.apply(work, given)


def marks_of(trials: int) -> list[int]:
    """After how many trials a driver is measured."""
    return sorted({*(mark for mark in MARKS if mark < trials), trials})


def history(nodes: int, trials: int, place: Path) -> Ended:
    """A search of all trials; beside it, in folders named by their number, the ledger as it was at each mark."""
    meter, marks, root = Meter(), marks_of(trials), place / "whole"
    with gathered() as flush:

        def keep(begun: int, recorder: Recorder) -> bool:
            if marks and begun >= marks[0]:
                flush(recorder.ledger)
                shutil.copytree(root / "ledger", place / str(marks.pop(0)) / "ledger")
            return True

        folder = run_on_paper("random", nodes, trials, root, meter, keep, flush)
    begin = undisturbed()
    tables = load_tables(folder)
    seconds = undisturbed() - begin
    files = list(folder.ledger.iterdir())
    return Ended(
        trials=tables.trials.num_rows,
        epochs=tables.epochs.num_rows,
        ledger_bytes=sum(file.stat().st_size for file in files),
        ledger_files=len(files),
        load_seconds=seconds,
        problems=problems(tables, trials, meter.results),
    )


def gone_on(searcher: str, nodes: int, trials: int, root: Path) -> Mark:
    """What a driver does that takes up the search in the folder, of so many trials, and goes on for some."""
    base, begin, meter = peak_bytes(), undisturbed(), Meter()
    resume_seconds = 0.0

    def measure(begun: int, recorder: Recorder) -> bool:
        nonlocal resume_seconds
        if not resume_seconds:  # those that were open are under way again, and nothing has happened since
            resume_seconds = undisturbed() - begin - meter.seconds
            meter.reset()
        return begun < nodes + MORE

    run_on_paper(searcher, nodes, trials + nodes + MORE, root, meter, measure)
    return Mark(
        resume_seconds=resume_seconds,
        suggest_ms=1e3 * meter.suggest_seconds / max(1, meter.suggestions),
        result_ms=1e3 * meter.result_seconds / meter.results,
        disk_share=meter.disk_seconds / meter.seconds,
        epochs_per_second=meter.results / meter.seconds,
        base_bytes=base,
        peak_bytes=peak_bytes(),
    )


def run_on_paper(
    searcher: str,
    nodes: int,
    trials: int,
    root: Path,
    meter: Meter,
    goes_on: Callable[[int, Recorder], bool],
    at_end: Callable[[Ledger], None] = lambda ledger: None,
) -> StudyFolder:
    """The search stage of a study in the folder `root`, as a driver runs it; `goes_on` as in `SimulatedTune`."""
    folder, deadline = StudyFolder(root), Deadline(None)
    folder.create()
    plan = make_plan(searcher, trials, root)
    workplace = Workplace(plan.albums, METRIC, folder.checkpoints, plan.cache, threads=1, use_gpu=True)
    slots = Slots(nodes, workers=1, cpus_per_worker=1, use_gpu=True)
    with meter.running(), closing(Recorder(folder, find_metric(METRIC))) as recorder:
        search = [lambda: Search(plan, recorder, folder.checkpoints, deadline)]
        with simulated(meter, lambda begun: goes_on(begun, recorder)):
            run_stages(search, plan, recorder, folder, workplace, slots, deadline)
        at_end(recorder.ledger)
    return folder


def problems(tables: Tables, trials: int, epochs: int) -> list[str]:
    """What the record says otherwise than the simulation and successive halving by hand; empty where all agree."""
    names = ("trial_id", "epoch", METRIC)
    rows = zip(*(tables.epochs[name].to_pylist() for name in names), strict=True)
    expected = stops(rows, EPOCHS, REDUCTION)
    columns = (tables.trials[name].to_pylist() for name in ("trial_id", "status", "epochs_run"))
    ended = {name: (status, run) for name, status, run in zip(*columns, strict=True)}
    checks = {
        f"{tables.epochs.num_rows} epochs recorded, {epochs} simulated": tables.epochs.num_rows == epochs,
        f"{len(ended)} trials, {trials} asked for": len(ended) == trials,
        "other trials stopped than by hand": expected
        == {name: run for name, (status, run) in ended.items() if status == "stopped"},
        "a trial has not ended as it should": all(
            status == "stopped" or (status, run) == ("completed", EPOCHS) for status, run in ended.values()
        ),
    }
    return [*(problem for problem, passed in checks.items() if not passed), *tables.problems]


def findings(searcher: str, nodes: int, marks: Mapping[int, Mark]) -> Iterator[Finding]:
    """The rows of one searcher."""
    for trials, mark in marks.items():
        yield Finding(
            measure="driver",
            case=f"{searcher} after {trials:,} trials",
            figure="epochs/s",
            values=(mark.epochs_per_second,),
            unit="ms",
            a=(mark.suggest_ms,),
            b=(mark.result_ms,),
            check=f"disk {mark.disk_share:.0%}; taken up in {mark.resume_seconds:.1f} s; peak "
            f"{mark.peak_bytes / 1e6:,.0f} MB, {mark.base_bytes / 1e6:,.0f} before",
        )
    slowest = min(mark.epochs_per_second for mark in marks.values())
    for per_node, goal in SHORTEST.items():
        case = f"{searcher}, {nodes} nodes with {per_node} trials each: shortest epoch"
        yield Finding(measure="driver", case=case, figure="seconds", values=(nodes * per_node / slowest,), goal=goal)


def whole(ended: Ended) -> Iterator[Finding]:
    """The rows of the search as a whole."""
    case = f"ledger of {ended.trials:,} trials, {ended.epochs:,} epochs"
    check = "; ".join(ended.problems) or "rows as simulated, stops as by hand"
    for figure, value in (("MB", ended.ledger_bytes / 1e6), ("seconds to load", ended.load_seconds)):
        passed = not ended.problems
        yield Finding(measure="driver", case=case, figure=figure, values=(value,), check=check, check_passed=passed)


if __name__ == "__main__":
    main()
