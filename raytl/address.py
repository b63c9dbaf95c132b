"""Which Ray a study runs on: the cluster that is named, the one that RAY_ADDRESS names, or one of its own here."""

from __future__ import annotations

import os
from dataclasses import dataclass

VARIABLE = "RAY_ADDRESS"  # Ray's own: where it is set, programs join that cluster unless they are told otherwise
LOCAL = "local"  # an address, by Ray's word for it: this machine alone


@dataclass(frozen=True)
class Place:
    """The address of a cluster to join, or None for a Ray that is started here; `why` says who decided that."""

    address: str | None
    why: str

    @property
    def line(self) -> str | None:
        """For the log; None where nothing was said about it anywhere."""
        if self.address is not None:
            return f"Ray: the cluster at {self.address}, as {self.why}"
        return f"Ray: one of its own on this machine, as {self.why}" if self.why else None


def place_of(address: str | None) -> Place:
    """Where a study with that `address` runs: what it says goes before RAY_ADDRESS, and without both it is here."""
    named = os.environ.get(VARIABLE, "").strip()
    if address == LOCAL:
        return Place(None, f"--address {LOCAL} says, whatever {VARIABLE}={named} says" if named else "")
    if address is not None:
        told = f", which {VARIABLE}={named} decides" if address == "auto" and named else ""
        return Place(address, f"--address says{told}")
    if not named:
        return Place(None, "")
    if named == LOCAL:
        return Place(None, f"{VARIABLE}={LOCAL} says")
    return Place(named, f"{VARIABLE} says (--address {LOCAL} stays on this machine)")
