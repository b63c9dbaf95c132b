"""A real TensorBoard server for tests, asked over HTTP as a browser asks it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

STATUSES = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]


@dataclass(frozen=True)
class Board:
    """A running server; runs are named by their folder below the served one."""

    url: str

    def scalars(self) -> dict[str, dict[str, list[tuple[int, float]]]]:
        """(step, value) pairs by run and tag."""
        tags = self._get("plugin/scalars/tags")
        return {run: {tag: self._series(run, tag) for tag in tags[run]} for run in tags}

    def pictures(self) -> dict[str, dict[str, list[bytes]]]:
        """Encoded pictures by run and tag."""
        tags = self._get("plugin/images/tags")
        return {run: {tag: self._pictures(run, tag) for tag in tags[run]} for run in tags}

    def pr_curves(self) -> dict[str, dict[str, dict[str, list[float]]]]:
        """Precision and recall at growing thresholds, by run and tag."""
        tags = self._get("plugin/pr_curves/tags")
        return {run: {tag: self._curve(run, tag) for tag in tags[run]} for run in tags if tags[run]}

    def session_groups(self) -> list[dict[str, Any]]:
        """The trials of the HParams tab, whatever their status."""
        asked = {"allowedStatuses": STATUSES, "colParams": [], "startIndex": 0, "sliceSize": 10_000}
        answer: dict[str, Any] = self._get("plugin/hparams/session_groups", asked)
        return answer.get("sessionGroups", [])

    def experiment(self) -> dict[str, Any]:
        """What the HParams tab knows of the hyperparameters and metrics of all trials."""
        answer: dict[str, Any] = self._get("plugin/hparams/experiment", {})
        return answer

    def _series(self, run: str, tag: str) -> list[tuple[int, float]]:
        points = self._get(f"plugin/scalars/scalars?{urlencode({'run': run, 'tag': tag})}")
        return [(step, value) for _, step, value in points]

    def _pictures(self, run: str, tag: str) -> list[bytes]:
        listed = self._get(f"plugin/images/images?{urlencode({'run': run, 'tag': tag, 'sample': 0})}")
        return [self._read(f"plugin/images/individualImage?{item['query']}") for item in listed]

    def _curve(self, run: str, tag: str) -> dict[str, list[float]]:
        [last] = self._get(f"plugin/pr_curves/pr_curves?{urlencode({'run': run, 'tag': tag})}")[run]
        return {name: last[name] for name in ("precision", "recall")}

    def _get(self, path: str, body: object | None = None) -> Any:
        return json.loads(self._read(path, None if body is None else json.dumps(body).encode()))

    def _read(self, path: str, body: bytes | None = None) -> bytes:
        request = Request(f"{self.url}data/{path}", body, {"Content-Type": "application/json"})
        with urlopen(request, timeout=30) as answer:
            content: bytes = answer.read()
            return content


@contextmanager
def serve(logdir: Path) -> Iterator[Board]:
    """Serves `logdir` on a free port of the loopback address; everything there is loaded before the first answer."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir), "--host", "127.0.0.1", "--port", "0"]
    once = ["--load_fast", "false", "--reload_interval", "0", "--reload_task", "blocking"]
    process = subprocess.Popen([*command, *once], stderr=subprocess.PIPE, text=True)
    try:
        yield Board(_url(process))
    finally:
        process.terminate()
        process.communicate(timeout=30)


def _url(process: subprocess.Popen[str]) -> str:
    assert process.stderr
    said = []
    for line in process.stderr:
        said.append(line)
        if match := re.search(r"http://\S+:\d+/", line):
            return match[0]
    raise RuntimeError(f"TensorBoard did not start: {''.join(said)}")
