"""The store of prefix activations of one machine: bounded, shared by processes, computed once, never half there."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from raytl.errors import StorageError
from raytl.train.prefix import PrefixKey
from raytl.train.prefix_entry import DamagedEntryError, Draft, entry_bytes, open_entry
from raytl.train.prefix_lock import locked, writing
from raytl.train.prefix_pass import Clock, Cost, Produce, TimedPass, measure
from raytl.train.prefix_room import make_room, remove_entry
from raytl.train.prefix_rows import Activations

__all__ = ["Activations", "Decision", "PrefixStore"]

_LOCK = ".lock"


@dataclass(frozen=True, eq=False)
class Decision:
    """The entries that were wanted, in order; or none, and the reason why they must be computed every time."""

    entries: Sequence[Activations] | None
    reason: str = ""


class PrefixStore:
    """Activations by key in `folder`, which never holds more than `limit_bytes`.

    A process keeps one store for a folder: it remembers what computing, writing and reading took.

    Args:
        clock: seconds, for measuring what pays.
    """

    def __init__(self, folder: Path, limit_bytes: int, clock: Clock = time.perf_counter) -> None:
        self.folder, self.limit_bytes = Path(folder), limit_bytes
        self._clock = clock
        self._costs: dict[PrefixKey, Cost] = {}

    def get(self, key: PrefixKey) -> Activations | None:
        """The entry of `key`; None where there is none. One that is damaged is removed.

        Nothing removes an entry while a living process holds it, that is, while the returned object lives.
        """
        try:
            return open_entry(self.folder / key.name, key)
        except DamagedEntryError:
            self._remove_damaged(key)
        except OSError:
            pass  # it cannot be opened by this process, for which it might as well not be there
        return None

    def build(self, wanted: Sequence[PrefixKey], rows: int, produce: Produce, batch_size: int, uses: float) -> Decision:
        """The entries of `wanted`, those that are missing computed in one pass and stored as far as that pays.

        Of several processes one computes, the others wait for it and read. Missing entries are stored where they fit
        under the limit, once the least valuable of others have gone, and where computing them `uses` times takes
        longer than computing and writing them once and reading them; this is measured on the first batches. What
        pays and fits is stored even where others of `wanted` are not.

        Args:
            wanted: keys of one view, in the order in which `produce` gives their activations.
            rows: number of pictures.
            uses: how often each picture's activations will be wanted.

        Raises:
            ValueError: where no single pass can capture all of `wanted`, or `produce` gives something else.
        """
        if len({key.forward_pass for key in wanted}) != 1:
            raise ValueError(f"{len(wanted)} keys of several passes: build the keys of one view of one picture set")
        entries = self._entries(wanted)
        if entries is not None:
            return Decision(entries)
        try:
            with writing(self.folder, 0):
                self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self.folder / f"{_LOCK}-{wanted[0].forward_pass}"):
                reason = self._fill(wanted, TimedPass(produce, rows, batch_size, self._clock), uses)
        except StorageError as error:
            reason = str(error)
        entries = self._entries(wanted)
        return Decision(entries, "" if entries else reason)

    def _entries(self, wanted: Sequence[PrefixKey]) -> list[Activations] | None:
        found = [entry for entry in map(self.get, wanted) if entry is not None]
        return found if len(found) == len(wanted) else None

    def _fill(self, wanted: Sequence[PrefixKey], one_pass: TimedPass, uses: float) -> str:
        """Stores what is missing of `wanted`, and says in words why something was not."""
        held = [self.get(key) for key in wanted]  # what is there stays, since it is held while room is made
        missing = [place for place, entry in enumerate(held) if entry is None]
        if not one_pass.chunks or not missing:
            return "" if one_pass.chunks else "there are no pictures"
        if any(wanted[place] not in self._costs for place in missing):
            self._measure(wanted, missing, one_pass)
        costs = {place: self._costs[wanted[place]] for place in missing}
        paying = [place for place in missing if costs[place].pays(uses)]
        drafts = self._reserve(wanted, paying, one_pass.count) if paying else {}
        if drafts:
            self._write(drafts, one_pass)
        refused = [place for place in missing if place not in drafts]
        return "; ".join(self._reason(wanted[place], costs[place], uses, one_pass.count) for place in refused)

    def _measure(self, wanted: Sequence[PrefixKey], missing: Sequence[int], one_pass: TimedPass) -> None:
        batches = one_pass.probe(max(missing) + 1)
        with writing(self.folder, 0):
            for place in missing:
                self._costs[wanted[place]] = measure(self.folder, [made[place] for made in batches], self._clock)

    def _reserve(self, wanted: Sequence[PrefixKey], paying: Sequence[int], count: int) -> dict[int, Draft]:
        """Drafts of all of `paying`, or of the most valuable among them that fit under the limit."""
        layouts = {place: self._costs[wanted[place]].layout for place in paying}
        chosen = sorted(paying, key=lambda place: self._costs[wanted[place]].value, reverse=True)
        drafts: dict[int, Draft] = {}
        with locked(self.folder / _LOCK), writing(self.folder, 0):
            while chosen and not self._make_room(sum(entry_bytes(layouts[place], count) for place in chosen)):
                chosen.pop()
            try:
                for place in chosen:
                    drafts[place] = Draft(self.folder, wanted[place], layouts[place], count)
            except StorageError:
                _discard(drafts)
                raise
        return drafts

    def _make_room(self, need_bytes: int) -> bool:
        return need_bytes <= self.limit_bytes and make_room(self.folder, self.limit_bytes, need_bytes)

    def _write(self, drafts: dict[int, Draft], one_pass: TimedPass) -> None:
        unfinished = dict(drafts)
        try:
            for index in range(len(one_pass.chunks)):
                made = one_pass.batch(index, max(drafts) + 1)
                for place, draft in drafts.items():
                    draft.append(made[place].rows, made[place].compute_seconds)
            for draft in drafts.values():
                draft.seal()
            with locked(self.folder / _LOCK):
                for place, draft in drafts.items():
                    draft.publish()
                    del unfinished[place]
        finally:
            _discard(unfinished)

    def _reason(self, key: PrefixKey, cost: Cost, uses: float, count: int) -> str:
        if not cost.pays(uses):
            return f"{key} are not stored: {cost}, which does not pay for {uses:g} uses"
        need = entry_bytes(cost.layout, count)
        return f"{key} are not stored: {need:,} bytes do not fit into the cache's {self.limit_bytes:,}"

    def _remove_damaged(self, key: PrefixKey) -> None:
        with suppress(StorageError, OSError), locked(self.folder / _LOCK):
            try:
                open_entry(self.folder / key.name, key)  # somebody may have replaced it meanwhile
            except DamagedEntryError:
                remove_entry(self.folder / key.name)


def _discard(drafts: dict[int, Draft]) -> None:
    for draft in drafts.values():
        draft.discard()
