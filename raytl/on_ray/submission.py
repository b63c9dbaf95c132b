"""A search given to a cluster as a job of its own: it goes on there when the machine that asked for it has left.

The job brings this code and the study as it was understood here, so that neither an experiment file nor a class map
has to be on the cluster. Pictures, weights and the study folder have to be.
"""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from raytl import __file__ as package
from raytl.data.public import public_names
from raytl.data.samples import sample_names
from raytl.errors import ConfigError, MachineError
from raytl.extras import install_hint
from raytl.redaction import redacted
from raytl.spec import write_spec
from raytl.storage import is_storage
from raytl.study import Study

AUTO = "auto"  # an address, by Ray's word for it: the cluster of this machine, or that of the variables
VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")  # Ray's; they would go before an address that was given
SHARED = "/mnt/raytl"  # where the cluster files put what all machines see
BRINGING = (
    f"copy it to storage that all its machines share (`ray rsync-up cluster.yaml HERE/ {SHARED}/data/NAME/`) and give "
    "its path there"
)
REACHING = (
    "`ray dashboard cluster.yaml` brings a cluster's to http://localhost:8265; RAY_AUTH_MODE=token and the token in "
    f"~/.ray/auth_token let this machine in; for what asks, {install_hint('cluster')}"
)


@dataclass(frozen=True)
class Submitted:
    """A job that the cluster has taken: its name, and the address at which it is asked about."""

    job: str
    address: str


class Client(Protocol):
    """Of Ray's `JobSubmissionClient` what is used."""

    def submit_job(self, *, entrypoint: str, submission_id: str, runtime_env: dict[str, Any]) -> str:
        """Sends the working folder and begins."""

    def get_address(self) -> str:
        """Of the job server."""


def submit(study: Study, out: Path | None, words: Sequence[str] = ()) -> Submitted:
    """Begins a search on the cluster at the study's address; `words` are further ones of its command line.

    Raises:
        ConfigError: no cluster is named, or a path is one of this machine: nothing has been sent.
        MachineError: nobody takes the job.
    """
    given = study.address
    if given is None and not _named():
        raise ConfigError(f"--detach: no cluster is named; give --address http://HEAD:8265; {REACHING}")
    belongs = given == AUTO and not _named()
    study, out = _as_there(study) if belongs else study, out.resolve() if belongs and out else out
    problems = [*_out_problems(out), *([] if belongs else path_problems(study))]
    if problems or out is None:
        raise ConfigError(*problems)
    command = ["python", "-m", "raytl.cli", "search", "--study", "study.json", "--out", str(out), *words]
    job = f"raytl-{study.name}-{secrets.token_hex(4)}"
    try:
        with _preferred(given), tempfile.TemporaryDirectory(prefix="raytl-") as room:
            client = _connect(given or AUTO)
            _furnish(Path(room), replace(study, address=AUTO))
            client.submit_job(entrypoint=shlex.join(command), submission_id=job, runtime_env={"working_dir": room})
    except Exception as error:  # Ray's client raises whatever it meets: of requests, of aiohttp, its own
        where = redacted(given or AUTO)
        raise MachineError(f"no cluster took the job at {where!r}: {redacted(str(error))}; {REACHING}") from error
    return Submitted(job, _address_of(client, given))


def _address_of(client: Client, given: str | None) -> str:
    """Of a cluster that has taken a job; whoever is told that none has would begin a second one."""
    try:
        return client.get_address()
    except Exception:  # as above
        named = next((os.environ[name] for name in VARIABLES if os.environ.get(name)), AUTO)
        return named if given in (None, AUTO) else str(given)


def path_problems(study: Study) -> list[str]:
    """One line for each thing that a study reads and that lies on this machine alone."""
    weights = {} if study.weights in ("pretrained", "none") else {"weights": study.weights}
    given = [("data", text) for text in (study.data, *study.more_data)] + list(weights.items())
    return [
        f"{name}={redacted(text)!r}: nothing that the cluster can read, but of this machine alone; {BRINGING}"
        for name, text in given
        if _is_here_alone(text)
    ]


def _is_here_alone(text: str) -> bool:
    """Whether a path says nothing to a cluster, or lies on the disk that this machine keeps its own files on."""
    if is_storage(text) or text.partition(":")[0] in sample_names() or text in public_names():
        return False
    path = Path(text)
    if not path.is_absolute():
        return True
    return path.exists() and path.stat().st_dev == Path.home().stat().st_dev


def _out_problems(out: Path | None) -> list[str]:
    if out is not None and out.is_absolute():
        return []
    said = "not given" if out is None else f"{str(out)!r} is a path of this machine"
    return [
        f"--out: {said}; say where the study is to lie on storage that all machines of the cluster share, such as "
        f"{SHARED}/results/NAME"
    ]


def _as_there(study: Study) -> Study:
    """With whole paths: the job runs in a folder of its own."""

    def whole(text: str) -> str:
        return str(Path(text).resolve()) if Path(text).exists() else text

    return replace(
        study, data=whole(study.data), more_data=tuple(map(whole, study.more_data)), weights=whole(study.weights)
    )


def _named() -> bool:
    return any(os.environ.get(name) for name in VARIABLES)


@contextmanager
def _preferred(address: str | None) -> Iterator[None]:
    """For the time of the block an address that a person gave goes before the variables."""
    kept = {name: os.environ.pop(name) for name in VARIABLES if name in os.environ and address not in (None, AUTO)}
    try:
        yield
    finally:
        os.environ.update(kept)


def _furnish(room: Path, study: Study) -> None:
    """The job's working folder: this code, and the study."""
    shutil.copytree(Path(package).parent, room / "raytl", ignore=shutil.ignore_patterns("__pycache__"))
    write_spec(study, room / "study.json")


def _connect(address: str) -> Client:
    from ray.job_submission import JobSubmissionClient

    client: Client = JobSubmissionClient(address)
    return client
