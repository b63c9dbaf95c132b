"""The mailbox between a trial and its group: what each side waits for, and what it gets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from raytl.on_ray.job import Job, Report
from raytl.on_ray.mailbox import Mailbox
from tests.plans import BASE, make_report

A, B = (Job(name, "search", "searcher", BASE) for name in "ab")
SOON = 5.0
PATIENCE = 0.3


async def waits(question: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """The question, asked and not yet answered."""
    task = asyncio.create_task(question)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    return task


async def answer(task: asyncio.Task[Any]) -> Any:
    return await asyncio.wait_for(task, SOON)


def test_every_worker_gets_the_next_task_and_none_twice() -> None:
    async def talk() -> None:
        box = Mailbox()
        workers = [await waits(box.take(0)) for _ in range(2)]
        await box.give(A)
        assert [await answer(each) for each in workers] == [(1, A), (1, A)]
        waiting = await waits(box.take(1))
        await box.give(None)
        assert await answer(waiting) == (2, None)

    asyncio.run(talk())


def test_a_report_is_waited_for_and_may_be_asked_for_again() -> None:
    async def talk() -> None:
        box, first, second = Mailbox(), make_report(A, 1), make_report(A, 2)
        await box.give(A)
        assert await box.ask(1, 0.0) is None and await box.ask(1, 0.01) is None
        trial = await waits(box.ask(1, SOON))
        await box.put(1, first)
        assert await answer(trial) == first == await box.ask(1, 0.0)
        await box.put(1, second)
        assert await box.ask(2, SOON) == second

    asyncio.run(talk())


def test_a_worker_goes_on_when_the_next_report_is_asked_for_and_leaves_when_another_task_is_given() -> None:
    async def talk() -> None:
        box = Mailbox()
        await box.give(A)
        await box.put(1, make_report(A, 1))
        await box.ask(1, SOON)
        workers = [await waits(box.goes_on(1, 1)) for _ in range(2)]
        trial = await waits(box.ask(2, SOON))
        assert [await answer(each) for each in workers] == [True, True]
        await box.put(1, make_report(A, 2))
        await answer(trial)
        workers = [await waits(box.goes_on(1, 2)) for _ in range(2)]
        await box.give(B)
        assert [await answer(each) for each in workers] == [False, False]

    asyncio.run(talk())


def test_reports_on_a_task_that_was_ended_are_dropped() -> None:
    async def talk() -> None:
        box, late, own = Mailbox(), make_report(A, 2), make_report(B, 1)
        await box.give(A)
        await box.put(1, make_report(A, 1))
        await box.give(B)
        await box.put(1, late)
        assert await box.ask(1, 0.0) is None
        await box.put(2, own)
        assert await box.ask(1, SOON) == own

    asyncio.run(talk())


def test_no_worker_begins_before_all_are_there() -> None:
    async def talk() -> None:
        box = Mailbox()
        await box.give(A)
        first, second = [await waits(box.arrive(1, worker, 3, SOON)) for worker in range(2)]
        await box.arrive(1, 2, 3, SOON)
        await answer(first)
        await answer(second)
        await box.give(B)
        late = await waits(box.arrive(2, 0, 2, SOON))
        await box.arrive(1, 1, 2, SOON)  # of an ended task: nobody waits for it, and it counts for no other
        assert not late.done()
        await box.give(None)
        await answer(late)

    asyncio.run(talk())


def test_a_worker_that_decodes_is_waited_for_while_it_gives_signs_of_life() -> None:
    async def talk() -> None:
        box, begin = Mailbox(), time.monotonic()
        await box.give(A)
        early = asyncio.create_task(box.arrive(1, 0, 2, PATIENCE))
        while time.monotonic() - begin < 4 * PATIENCE:
            await box.alive(1)
            await asyncio.sleep(PATIENCE / 20)
        assert not early.done()
        await box.arrive(1, 1, 2, PATIENCE)
        await answer(early)

    asyncio.run(talk())


@pytest.mark.parametrize("beats", [0, 1])
def test_a_worker_that_stands_still_before_it_is_ready_ends_the_wait(beats: int) -> None:
    async def talk() -> None:
        box = Mailbox()
        await box.give(A)
        early = await waits(box.arrive(1, 0, 3, PATIENCE))
        another = await waits(box.arrive(1, 2, 3, PATIENCE))
        for _ in range(beats):
            await box.alive(1)
        begin = time.monotonic()
        for waiting in (early, another):
            with pytest.raises(TimeoutError, match=r"worker 1 of 3 .* raise --peer-timeout"):
                await answer(waiting)
        assert 0.5 * PATIENCE < time.monotonic() - begin < SOON
        await box.give(B)  # the mailbox itself goes on
        await box.arrive(2, 0, 1, PATIENCE)

    asyncio.run(talk())


def test_a_report_says_how_long_its_task_waited_for_the_first_worker() -> None:
    async def talk() -> None:
        box = Mailbox()
        await box.give(A)
        await asyncio.sleep(0.05)
        await box.take(0)
        await asyncio.sleep(0.05)
        await box.take(0)  # the second worker's
        await box.put(1, make_report(A, 1))
        first = await box.ask(1, SOON)
        assert isinstance(first, Report) and 0.04 < first.waited_seconds < 0.09
        await box.give(B)
        await box.take(1)
        await box.put(2, make_report(B, 1))
        second = await box.ask(1, SOON)
        assert isinstance(second, Report) and second.waited_seconds < 0.04, "a group that stands takes it at once"

    asyncio.run(talk())
