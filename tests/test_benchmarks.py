"""What the benchmarks share, and their pure functions; nothing here is timed against a clock that runs."""

from __future__ import annotations

import argparse
import math
import random
import runpy
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import astuple, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytl.results.folder import StudyFolder
from raytl.space import LogUniform, Uniform
from tests.rows import START, epoch_row, trial_row

PROGRAMS = Path(__file__).parents[1] / "experiments" / "benchmarks"
sys.path.append(str(PROGRAMS))  # the programs import one another by their bare names, as scripts do

import measure  # noqa: E402
import orchestration  # noqa: E402
import policy  # noqa: E402
import prefix  # noqa: E402
import recorded  # noqa: E402
import recording  # noqa: E402
import serving  # noqa: E402
import tables  # noqa: E402
import warm_start  # noqa: E402
from measure import Finding, Goal, Taken, conclude, markdown, number, pair_count, parser, read, take_turns  # noqa: E402
from recorded import SUBMISSION, Pool, Run, point_of, resampled  # noqa: E402

FINDING = Finding(
    measure="S0",
    case="a case",
    figure="A/B",
    values=(2.0, 4.0, 3.0),
    goal=Goal(2.5),
    a=(4.0, 8.0, 6.0),
    b=(2.0, 2.0, 2.0),
    check="same losses",
)


@pytest.mark.parametrize(
    ("goal", "met", "missed", "text"),
    [(Goal(10), 10.0, 9.99, ">= 10"), (Goal(1.08, at_least=False), 1.08, 1.081, "<= 1.08")],
)
def test_a_goal_is_a_bound_that_may_be_reached(goal: Goal, met: float, missed: float, text: str) -> None:
    assert goal.met(met) and not goal.met(missed) and not goal.met(math.nan)
    assert str(goal) == text
    assert measure.parse_goal(text) == goal
    assert measure.parse_goal(None) is None


def test_a_verdict_needs_the_goal_and_the_check() -> None:
    assert (FINDING.median, FINDING.verdict) == (3.0, "yes")
    assert replace(FINDING, values=(2.0, 2.4, 9.0)).verdict == "no"
    assert replace(FINDING, goal=None).verdict == "-"
    assert replace(FINDING, check_passed=False).verdict == "check failed"


class Clock:
    """A clock that only arms move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.turns: list[str] = []
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def arm(self, name: str, seconds: float) -> Callable[[], float]:
        def turn() -> float:
            self.turns.append(name)
            self.now += seconds
            return seconds * 10

        return turn


@pytest.mark.parametrize(
    ("seconds", "quick", "pairs"), [(59.0, False, 5), (60.0, False, 2), (3600.0, False, 2), (1.0, True, 1)]
)
def test_arms_take_turns_as_often_as_the_slower_one_allows(
    monkeypatch: pytest.MonkeyPatch, seconds: float, quick: bool, pairs: int
) -> None:
    clock = Clock(monkeypatch)
    taken = take_turns(clock.arm("A", 1.0), clock.arm("B", seconds), quick)
    assert clock.turns == ["A", "B"] * pairs
    assert taken == Taken((10.0,) * pairs, (seconds * 10,) * pairs)
    assert pair_count(seconds, quick) == pairs


def test_ratios_are_those_of_pairs() -> None:
    taken = Taken((2.0, 9.0), (4.0, 3.0))
    assert taken.a_over_b == (0.5, 3.0)
    assert taken.b_over_a == pytest.approx((2.0, 1 / 3))


def test_work_is_timed_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    assert measure.timed(clock.arm("A", 2.5))() == 2.5


def test_the_table_has_one_row_for_each_finding() -> None:
    lines = markdown([FINDING, replace(FINDING, goal=None, check="", a=(), b=())]).splitlines()
    assert [line.count("|") for line in lines] == [11] * 4
    assert lines[2] == "| S0 | a case | 6 s | 2 s | A/B | 3 [2, 4] | 3 | >= 2.5 | yes | same losses |"
    assert lines[3] == "| S0 | a case | - | - | A/B | 3 [2, 4] | 3 | - | - | - |"


@pytest.mark.parametrize(("value", "text"), [(0.98765, "0.988"), (12.34, "12.3"), (5912.4, "5,912"), (0.0, "0")])
def test_numbers_have_three_digits_or_are_whole(value: float, text: str) -> None:
    assert number(value) == text


def test_findings_are_printed_and_come_back_from_their_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["step.py", "--quick"])
    options = argparse.Namespace(quick=True, out=tmp_path / "new" / "step.parquet")
    findings = [FINDING, replace(FINDING, goal=None, values=(1.0,), a=(), b=(), check_passed=False)]
    conclude(findings, options)
    printed = capsys.readouterr().out
    assert printed.startswith("--quick") and markdown(findings) in printed
    assert read(options.out) == findings
    table = pq.read_table(options.out)
    assert table["command"].to_pylist() == ["python step.py --quick"] * 2
    assert table["median"].to_pylist() == [3.0, 1.0]
    assert {"quick", "machine", "commit", "load_average", "measured_at", "versions"} <= set(table.column_names)
    assert all(table["quick"].to_pylist())


def test_results_go_to_a_folder_that_git_ignores() -> None:
    options = parser("What it is.", "step").parse_args([])
    assert options.out == PROGRAMS.parents[1] / "results" / "bench" / "step.parquet"
    assert not options.quick


def test_every_measure_has_a_program_that_explains_itself() -> None:
    programs = runpy.run_path(str(PROGRAMS / "__main__.py"))["PROGRAMS"]
    assert list(programs) == [f"S{number}" for number in range(1, 13)]
    for name, program in programs.items():
        text = (PROGRAMS / f"{program}.py").read_text()
        assert text.startswith(f'"""{name}: ')
        command = f"Command:   python experiments/benchmarks/{program}.py"
        assert all(part in text for part in (command, "Hardware:", "Minutes:", "Expected:"))


def test_a_run_is_cut_into_equal_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "EPOCHS", 4)
    assert resampled([(1, 0.1), (50, 0.2), (60, 0.3), (100, 0.4), (200, 0.5)]) == (0.2, 0.4, 0.4, 0.5)
    assert resampled([(199, 0.1), (200, 0.2)]) == (0.1, 0.1, 0.1, 0.2)


def test_a_point_is_read_from_name_and_hyperparameters() -> None:
    name = "algoperf_v05/external_tuning/amos/study_0/imagenet_resnet_jax/trial_1"
    point = point_of(name, {"learning_rate": 0.1, "l2": 0.01, "beta1": 0.9})
    expected = {"lr": 0.1, "weight_decay": 0.01, "label_smoothing": None, "dropout": None}
    assert point == {SUBMISSION: "algoperf_v05/external_tuning/amos (jax)", **expected}
    with pytest.raises(ValueError, match="not named"):
        point_of("another/name", {})


def make_run(name: str, best: float, lr: float, submission: str = "a") -> Run:
    """A run that grows steadily to `best`."""
    scores = tuple(best * epoch / recorded.EPOCHS for epoch in range(1, recorded.EPOCHS + 1))
    point = {SUBMISSION: submission, "lr": lr, "weight_decay": 0.1 * lr, "label_smoothing": lr, "dropout": lr}
    return Run(name, scores, point)  # type: ignore[arg-type]


def make_pool(count: int) -> Pool:
    """Runs of two submissions whose best scores lie apart."""
    rng = random.Random(0)
    bests = [0.3 + 0.6 * index / count for index in range(count)]
    runs = [make_run(f"run{i}", best, 10 ** rng.uniform(-3, 0), "ab"[i % 2]) for i, best in enumerate(bests)]
    return Pool("made up", tuple(runs))


def test_a_pool_says_where_its_runs_lie() -> None:
    runs = (make_run("low", 0.5, 0.001), make_run("high", 0.7, 0.1), make_run("other", 0.6, 0.1, "b"))
    pool = Pool("made up", runs)
    assert pool.target == pytest.approx(0.695)
    assert isinstance(pool.space.domains["lr"], LogUniform)
    assert all(pool.space.contains(run.point) for run in runs)
    assert pool.distance(runs[0].point, runs[1].point) == pytest.approx(4)
    assert pool.distance(runs[1].point, runs[2].point) == pytest.approx(1)
    without = replace(runs[0], name="without", point={**runs[0].point, "dropout": 0.0})
    assert isinstance(Pool("made up", (*runs, without)).space.domains["dropout"], Uniform)


class InOrder:
    """A policy that begins runs as they come and stops them after `last` epochs."""

    def __init__(self, runs: tuple[Run, ...], last: int) -> None:
        self.left, self.last = list(runs), last
        self.bests: list[float] = []

    def next(self) -> Run | None:
        return self.left.pop(0) if self.left else None

    def goes_on(self, run: Run, epoch: int, score: float) -> bool:
        return epoch < self.last

    def ended(self, run: Run, best: float) -> None:
        self.bests.append(best)


@pytest.mark.parametrize(("last", "expected"), [(recorded.EPOCHS, 4 * 26 + 1), (3, 18)])
def test_steps_are_counted_until_a_score_comes_near(last: int, expected: int) -> None:
    runs = tuple(make_run(f"run{i}", 0.9 if i == 0 else 0.4, 0.1 * (i + 1)) for i in range(6))
    policy_ = InOrder(runs, last)
    assert policy.steps(policy_, Pool("made up", runs)) == expected
    assert len(policy_.bests) == (0 if last == recorded.EPOCHS else 6)


@given(seed=st.integers(0, 2**31 - 1))
def test_arm_a_tries_every_run_once(seed: int) -> None:
    pool = make_pool(9)
    documented = policy.Documented(pool, seed)
    assert sorted(run.name for run in begun(documented)) == sorted(run.name for run in pool.runs)


@pytest.mark.parametrize("seed", range(3))
def test_arm_b_tries_every_run_once_and_learns_what_came_of_it(seed: int) -> None:
    pool = make_pool(9)
    ours = policy.Ours(pool, seed)
    assert sorted(run.name for run in begun(ours)) == sorted(run.name for run in pool.runs)
    seen: Any = ours._searcher
    assert sorted(each.score for each in seen.seen if each.score is not None) == sorted(r.scores[-1] for r in pool.runs)


def begun(each: policy.Policy) -> Iterator[Run]:
    """All runs that a policy begins, each told of before the next is asked for."""
    while (run := each.next()) is not None:
        each.ended(run, run.scores[-1])
        yield run


@pytest.mark.parametrize("arm", [policy.Documented, policy.Ours])
def test_a_replay_depends_on_its_seed_alone(arm: Any) -> None:
    pool = make_pool(30)
    taken = [policy.steps(arm(pool, 5), pool) for _ in range(2)]
    assert taken[0] == taken[1] <= recorded.EPOCHS * 30


def test_curves_that_are_not_there_are_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAYTL_TEST_DATA", raising=False)
    for given_, word in ((None, "neither"), (tmp_path, "does not exist")):
        with pytest.raises(SystemExit) as ended:
            policy._curves(given_)
        assert ended.value.code == 2
        said = capsys.readouterr().err
        assert word in said and "--curves" in said and said.count("\n") == 1


@pytest.mark.parametrize(("frozen", "expected"), [(0.0, 1.0), (0.5, 4 / 3), (0.9, 4.0)])
def test_the_bound_is_what_need_not_be_computed(frozen: float, expected: float) -> None:
    assert prefix.bound(frozen) == pytest.approx(expected)


def test_a_gap_lies_between_one_training_and_the_next() -> None:
    assert warm_start.median_gap([(30.0, 40.0), (0.0, 10.0), (11.0, 29.0), (45.0, 46.0)]) == 1.0


def test_calls_are_timed_within_the_block_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)

    class Writer:
        def write(self, text: str) -> str:
            clock.now += 2.0
            if not text:
                raise OSError("disk full")
            return text

    seconds: dict[str, float] = defaultdict(float)
    with recording.timed_calls(Writer, "write", "ledger", seconds):
        assert Writer().write("a") == "a"
        with pytest.raises(OSError, match="disk full"):
            Writer().write("")
    Writer().write("b")
    assert seconds == {"ledger": 4.0}


def test_all_that_records_is_there_to_be_timed() -> None:
    assert all(callable(getattr(owner, name)) for owner, name, _ in recording.CALLS)
    finding = recording.finding(
        "a case", [{"loop": 100.0, "ledger": 0.5, "report": 9.0}], ("ledger",), Goal(1.01, False)
    )
    assert (finding.values, finding.verdict) == ((1.005,), "yes")


@pytest.mark.parametrize("question", tables.QUESTIONS)
def test_a_made_up_study_answers_as_plain_python_does(tmp_path: Path, question: str) -> None:
    trials = list(tables.made_up(12))
    folder = StudyFolder(tmp_path / "study")
    tables.write_study(folder, trials)
    said = tables.measured_answer(question, folder.root)
    assert said["answer"] == tables.expected(question, trials)
    lengths = {"leaderboard": 12, "best per backbone": 5, "learning curve": tables.EPOCHS}
    assert len(tables.expected(question, trials)) == lengths[question]


def load(seconds: float, latencies: tuple[float, ...], share: float) -> serving.Load:
    answers = tuple(("x.png", {"a": share, "b": 1 - share}, 4) for _ in latencies)
    return serving.Load(seconds, latencies, answers)


@pytest.mark.parametrize(("share", "verdict"), [(0.75, "yes"), (0.7499, "check failed")])
def test_load_is_told_in_requests_a_second_and_in_waiting(share: float, verdict: str) -> None:
    slow, fast = load(4.0, (0.1, 0.2, 0.3, 0.4), 0.75), load(2.0, (0.05, 0.1, 0.15, 0.2), share)
    rate, half, most = serving.findings(32, [slow] * 2, [fast] * 2, {"x.png": {"a": 0.75, "b": 0.25}})
    assert (rate.a, rate.b, rate.values, rate.verdict) == ((1.0, 1.0), (2.0, 2.0), (2.0, 2.0), verdict)
    assert half.a == pytest.approx((250, 250)) and half.values == pytest.approx((0.5, 0.5))
    assert most.b == pytest.approx((198.5, 198.5)) and "batches of 4.0 in B" in most.case


def test_one_client_has_no_goal_to_reach_by_batches() -> None:
    one = load(4.0, (0.1,), 0.75)
    assert serving.findings(1, [one], [one], {"x.png": {"a": 0.75, "b": 0.25}})[0].verdict == "-"


def test_the_rest_of_a_place_for_trials_is_told_by_reason() -> None:
    def at(seconds: float) -> datetime:
        return START + timedelta(seconds=seconds)

    # one place: 0-10 s and 12-20 s, then nothing; a second one: 1-19 s
    lives = {"a": (0.0, 10.0), "b": (12.0, 20.0), "c": (1.0, 19.0)}
    spans = {"a": [(1.0, 4.0), (4.5, 9.0)], "b": [(13.0, 19.5)], "c": [(3.0, 10.0), (11.0, 18.0)]}
    trials = [trial_row(trial_id=name, started_at=at(a), ended_at=at(b)) for name, (a, b) in lives.items()]
    epochs = [
        epoch_row(trial_id=name, epoch=number, started_at=at(a), ended_at=at(b))
        for name, own in spans.items()
        for number, (a, b) in enumerate(own, 1)
    ]
    rest = orchestration.rest_of(trials, [*reversed(epochs), epoch_row(trial_id="another")], 2, 6.0)
    assert astuple(rest) == pytest.approx((4 / 3, 1.5 / 3, 2.5 / 3, 4 / 3, 2.0))
    findings = orchestration.rest_findings([rest, rest])
    assert findings[0].case == "before first epoch" and len(findings) == 5
    assert findings[-1].values == (2.0, 2.0)
