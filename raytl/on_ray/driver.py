"""One study from start to end: check, decode, search, confirm, and leave a folder that explains itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from raytl.address import place_of
from raytl.data.location import kept_in_cache
from raytl.design import cells_of
from raytl.errors import StorageError
from raytl.estimate import Estimate
from raytl.machine import cache_folder, free_bytes
from raytl.metric import find_metric
from raytl.models.weights import NONE, PUBLISHED
from raytl.money import check_types
from raytl.on_ray.briefing import data_lines, known_lines, most_trials, place_lines, plan_lines
from raytl.on_ray.cluster import Slots, has_joined, joined
from raytl.on_ray.confirm import Confirmation
from raytl.on_ray.deadline import Budget, Deadline, Earliest
from raytl.on_ray.earlier import end_outdated
from raytl.on_ray.experiment import run_stages
from raytl.on_ray.fleet import Fleet, fleet_of
from raytl.on_ray.forecast import estimate_study
from raytl.on_ray.growth import divide_grown, grown, growth_lines
from raytl.on_ray.job import Workplace
from raytl.on_ray.nodes import check_nodes, given_paths
from raytl.on_ray.plan import (
    Plan,
    build_stores,
    check_depths,
    check_names,
    check_sizes,
    keepings,
    make_plan,
    open_albums,
)
from raytl.on_ray.probe import HEADS, Probe
from raytl.on_ray.provenance import known_precisions, write_provenance
from raytl.on_ray.publication import publish
from raytl.on_ray.room import check_room
from raytl.on_ray.search import Search
from raytl.on_ray.stages import Stage
from raytl.results.folder import StudyFolder
from raytl.results.lock import locked
from raytl.results.mirror import mirrored
from raytl.results.recorder import Recorder, Watcher
from raytl.results.report import write_report
from raytl.results.schemas import CONFIRM, DISTILL, PROBE, SCORELESS, SEARCH
from raytl.results.tables import compact, load_tables
from raytl.results.usage import used_line
from raytl.results.view import DESIGN, REPORT
from raytl.study import LADDER, Study
from raytl.train.cache import PrefixCache

Say = Callable[[str], None]
SHARERS = 4  # chosen: runs that read an entry behind one freeze depth: trials of the search, seeds of the confirmation
FREE_SHARE = 0.1  # of the disk's free space, for what frozen stages make of pictures


@dataclass(frozen=True)
class Outcome:
    """How a study ended: how many trials there are, final models included, and how many of them have no figure.

    Of a dry run there is an estimate of what the study takes, and nothing else.
    """

    folder: StudyFolder
    trials: int
    without_figure: int
    estimate: Estimate | None = None

    @property
    def exit_code(self) -> int:
        """0, or 5 where trials failed or diverged."""
        return 5 if self.without_figure else 0


def run_study(
    study: Study, out: Path, say: Say, watcher: Watcher, dry_run: bool = False, changed_data: bool = False
) -> Outcome:
    """Runs `study` into the folder `out`, or checks all and says what would happen.

    What an earlier run left there is gone on from; with `changed_data` also where its pictures have changed.

    Raises:
        RaytlError: before anything expensive starts, with all that is wrong and what to do.
    """
    begin = time.monotonic()
    study = _placed(study)
    check_names(study)
    check_depths(study)
    folder = StudyFolder(out)
    cache = cache_folder()
    albums = open_albums(study, cache)
    place = place_of(study.address)
    _say_all([*data_lines(albums[0]), *place_lines(place, has_joined())], say)
    with _tidied_when_interrupted(folder), joined(place.address) as resources:
        workers, most = study.workers_per_trial, most_trials(study)
        later, slots = divide_grown(resources, grown(resources), workers, most, study.trials_per_gpu)
        fleet = fleet_of(later.nodes, slots)
        _check_prices(study, fleet, [node.node_type for node in later.nodes], folder)
        plan = make_plan(study, albums, slots, cache, known_precisions(folder))
        if not folder.study_json.exists():  # limits may change later: what was trained by then is not refused
            check_sizes(plan)
        _say_all([*growth_lines(resources, later), *plan_lines(plan, slots)], say)
        for sentence in (each.sentence(slots.cpus_per_worker) for each in keepings(plan) if not each.stored):
            say(sentence)
        check_room(plan, out, slots)
        if dry_run:
            rate = fleet.hourly_cost(study.prices)
            return Outcome(folder, 0, 0, estimate_study(plan, slots, cache_bytes(study, cache), begin, rate))
        folder.create()
        with locked(folder):
            check_nodes(folder, given_paths(study))
            write_provenance(plan, folder, resources, changed_data)
            swept = folder.sweep()
            recorder = Recorder(folder, find_metric(study.metric), [watcher])
            end_outdated(recorder, [album.fingerprint for album in albums], fleet.berth(""))
            _say_all(known_lines(recorder, swept), say)
            recorder.pictures(albums[0].pictures)
            _store_pictures(plan, say)
            with mirrored(folder, study.storage, say), closing(recorder):
                _train(plan, recorder, folder, slots, fleet, begin, watcher, say)
    return _outcome(recorder, folder)


def _placed(study: Study) -> Study:
    """The study with a folder of weights as every process finds it: workers have folders of their own to start from."""
    return study if study.weights in (PUBLISHED, NONE) else replace(study, weights=str(Path(study.weights).absolute()))


@contextmanager
def _tidied_when_interrupted(folder: StudyFolder) -> Iterator[None]:
    """Removes what workers were writing when the end of Ray ended them; what another process holds is left alone."""
    try:
        yield
    except KeyboardInterrupt:
        if folder.ledger.is_dir():
            with suppress(StorageError), locked(folder):
                folder.sweep()
        raise


def _train(
    plan: Plan,
    recorder: Recorder,
    folder: StudyFolder,
    slots: Slots,
    fleet: Fleet,
    begin: float,
    watcher: Watcher,
    say: Say,
) -> None:
    deadline = Earliest((_deadline(plan.study, begin), Budget(recorder, plan.study.search_worker_seconds)))
    stages = _stages(plan, recorder, folder, slots, fleet, deadline, watcher, say)
    run_stages(stages, plan, recorder, folder, workplace_of(plan, folder, slots), slots, deadline, fleet, say)
    if plan.study.budget_hours is not None:
        say(used_line(recorder.trials.values(), recorder.epochs, plan.study.budget_hours))
    watcher.step(REPORT, 0)
    publish(plan, recorder, folder)
    compact(folder)
    write_report(folder, load_tables(folder))


def workplace_of(plan: Plan, folder: StudyFolder, slots: Slots) -> Workplace:
    """What all workers of a study share."""
    return Workplace(
        albums=plan.albums,
        metric=plan.study.metric,
        checkpoints=folder.checkpoints.resolve(),
        cache=plan.cache,
        threads=slots.cpus_per_worker,
        use_gpu=slots.use_gpu,
        peer_timeout_seconds=plan.study.peer_timeout_seconds,
        weight_histograms=plan.study.weight_histograms,
        prefixes=PrefixCache(plan.cache / "prefixes", cache_bytes(plan.study, plan.cache), SHARERS),
        sources=kept_in_cache((plan.study.data, *plan.study.more_data)),
        store_limit_bytes=plan.study.store_limit_bytes,
    )


def _stages(
    plan: Plan,
    recorder: Recorder,
    folder: StudyFolder,
    slots: Slots,
    fleet: Fleet,
    deadline: Deadline,
    watcher: Watcher,
    say: Say,
) -> list[Callable[[], Stage]]:
    """Each stage as it is begun, when the one before is over."""

    def probe() -> Stage:
        say(f"probing: what each frozen backbone makes of the pictures, and {HEADS} heads over it")
        stage = Probe(plan, recorder, slots.count, deadline, say, fleet)
        watcher.step(PROBE, stage.left)
        return stage

    def search() -> Stage:
        stage = Search(plan, recorder, folder.checkpoints, deadline, watcher.settled, fleet)
        watcher.step(SEARCH, stage.left)
        return stage

    def design() -> Stage:
        count = len(cells_of(plan.study.design))
        say(f"design: {count} combinations of {' and '.join(plan.study.design)}, each trained and tested once per seed")
        stage = Confirmation(plan, recorder, folder.checkpoints, fleet)
        watcher.step(DESIGN, stage.left)
        return stage

    def confirm() -> Stage:
        say("confirming: best recipes and linear probe of each backbone, under every seed, tested once")
        stage = Confirmation(plan, recorder, folder.checkpoints, fleet)
        watcher.step(CONFIRM, stage.left)
        return stage

    if plan.study.design:
        return [design]
    return [probe, search, confirm] if plan.study.policy == LADDER else [search, confirm]


def cache_bytes(study: Study, cache: Path) -> int:
    """How many bytes of what frozen stages make of pictures may lie in `cache`."""
    return int(study.cache_gb * 1e9 if study.cache_gb is not None else free_bytes(cache) * FREE_SHARE)


def _check_prices(study: Study, fleet: Fleet, types: Sequence[str], folder: StudyFolder) -> None:
    """Refuses prices of types of machines that are neither here nor in what an earlier run recorded."""
    if study.prices:
        working = [berth.node_type for berth in fleet.working if berth.node_type is not None]
        trials = load_tables(folder).trials["node_type"].to_pylist() if folder.study_json.exists() else []
        check_types(study.prices, working, [*types, *(name for name in trials if name is not None)])


def _deadline(study: Study, begin: float) -> Deadline:
    if study.search_seconds is None:
        return Deadline(None)
    return Deadline(max(0.0, study.search_seconds - (time.monotonic() - begin)))


def _outcome(recorder: Recorder, folder: StudyFolder) -> Outcome:
    trials = [row for row in recorder.trials.values() if row.stage != DISTILL]
    return Outcome(folder, len(trials), sum(row.status in SCORELESS for row in trials))


def _store_pictures(plan: Plan, say: Say) -> None:
    any_stored = any(each.stored for each in keepings(plan))
    seconds = build_stores(plan)
    if any_stored:
        say(f"pictures decoded once in {seconds:.1f} s")


def _say_all(lines: Iterable[str], say: Say) -> None:
    for line in lines:
        say(line)
