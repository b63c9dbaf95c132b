"""The errors a person can meet, each with the exit code the command line ends on."""

from __future__ import annotations

import errno

EMPTY_DATA = (
    "data '': is empty, as an unset variable of the shell is; name a folder of class folders, a table, an archive or a "
    "sample"
)


class RaytlError(Exception):
    """Something a person can mend: the message gives the value, the rule and the remedy.

    Several findings are reported in one error, one line each.
    """

    exit_code = 2

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), self.problems  # errors cross processes; by default the findings would come back as one


class ConfigError(RaytlError):
    """A recipe, study, search space or command line that cannot be run as written."""

    exit_code = 2


class MachineError(RaytlError):
    """The machine lacks what was asked for: processors, memory, packages, a backbone's weights."""

    exit_code = 3


class DataError(RaytlError):
    """The pictures or their labels cannot be used as they are."""

    exit_code = 4


class StorageError(RaytlError):
    """The study folder cannot be written, or what is in it cannot be read."""

    exit_code = 6


def system_problem(error: OSError, place: object = None) -> StorageError:
    """What the system refused, as a person can mend it; `place` is what was to be used, if the error names none."""
    where = place if error.filename is None else error.filename
    what = error.strerror or str(error) or type(error).__name__
    remedy = _REMEDIES.get(error.errno or 0, "mend it, or give another place")
    return StorageError(f"{'' if where is None else f'{where}: '}{what}; {remedy}")


_RIGHTS = "this user may not do that there; have the rights changed, or give another place"
_ROOM = "make room on that disk, or give a place on another"
_REMEDIES = {
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: "nothing can be written there; give another place",
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.ENOENT: "it is not there; give a place that is",
    errno.EMFILE: "too many files are open; raise the limit with `ulimit -n 65536`",
}
