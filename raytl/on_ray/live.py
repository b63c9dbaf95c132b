"""Objects that live in the driver alone, although Tune pickles what it is given beside its own state."""

from __future__ import annotations


class Live:
    """Pickles to nothing. The ledger is what a study goes on from; a pickle of open files and locks could not be."""

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        return object, ()
