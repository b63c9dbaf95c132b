"""A real `raytl serve` with real clients: the answers of `raytl predict`, batches, overload, and an orderly end."""

from __future__ import annotations

import http.client
import json
import os
import shlex
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from raytl.cli import main
from raytl.errors import MachineError
from raytl.on_ray.replica import Batching
from raytl.on_ray.serving import Service, check_place, check_replicas
from raytl.use.bounds import Bounds
from tests.pictures import noise
from tests.ports import free_port
from tests.processes import Command
from tests.served import form, png, saved_model

real = [pytest.mark.slow, pytest.mark.ray]
MOST_TOGETHER, CLIENTS = 4, 16
END_SECONDS = 20  # chosen: measured 3 on an idle machine; what matters is that it is no minute


@pytest.mark.parametrize(("together", "held", "queued", "most"), [(1, 32, 64, 256), (40, 160, 80, 800)])
def test_more_is_let_in_than_finds_a_place(together: int, held: int, queued: int, most: int) -> None:
    service = Service(Path("m"), "127.0.0.1", 8000, None, 2, Batching(together, 0.0), Bounds())
    assert (service.held, service.queued, service.most_requests) == (held, queued, most)


def test_a_free_port_may_be_used_and_so_many_replicas_as_processors() -> None:
    check_place("127.0.0.1", free_port())
    check_replicas(2, 2)
    with pytest.raises(MachineError, match="at most --replicas 2"):
        check_replicas(3, 2)


@dataclass(frozen=True)
class Served:
    """A running server and what `raytl predict` says of some pictures."""

    command: Command
    where: str
    expected: dict[str, dict[str, float]]
    files: dict[str, bytes]

    def ask(self, name: str, fields: dict[str, str] | None = None) -> dict[str, Any]:
        status, said, _ = post(self.where, {name: self.files[name]}, fields)
        assert status == 200, said
        found: dict[str, Any] = said["pictures"][0]
        return found


def post(where: str, files: dict[str, bytes], fields: dict[str, str] | None = None) -> tuple[int, Any, dict[str, str]]:
    body, headers = form(files, fields)
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{where}/predict", body, headers), timeout=60) as reply:
            return reply.status, json.load(reply), dict(reply.headers)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error), dict(error.headers)


def start(folder: Path, *words: str) -> tuple[Command, str]:
    port = free_port()
    command = Command.start(folder / "log", "serve", str(folder / "tiny"), "--port", str(port), *words)
    command.wait_for(lambda: "Ctrl-C ends it" in command.said)
    return command, f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    saved_model(folder / "tiny")
    (folder / "pictures").mkdir()
    for seed in range(CLIENTS):
        noise(seed, 40 + seed).save(folder / "pictures" / f"{seed}.png")
    words = ["predict", str(folder / "tiny"), str(folder / "pictures"), "--batch", "1"]
    assert main([*words, "--out", str(folder / "p.json")]) == 0
    expected = {Path(row["path"]).name: row["probabilities"] for row in json.loads((folder / "p.json").read_text())}
    files = {path.name: path.read_bytes() for path in (folder / "pictures").iterdir()}
    command, where = start(folder, "--max-batch", str(MOST_TOGETHER), "--max-wait-ms", "40")
    try:
        yield Served(command, where, expected, files)
    finally:
        if command.process.poll() is None:
            command.kill()


class TestServer:
    """One server, asked more and more, then ended."""

    pytestmark = real

    def test_a_picture_has_exactly_the_probabilities_that_predict_tells(self, served: Served) -> None:
        for name, probabilities in served.expected.items():
            found = served.ask(name)
            assert (found["probabilities"], found["batch"]) == (probabilities, 1)

    def test_pictures_of_requests_at_the_same_time_are_computed_together(self, served: Served) -> None:
        sizes = Counter[int]()
        with ThreadPoolExecutor(CLIENTS) as pool:
            for _ in range(5):
                found = dict(zip(served.files, pool.map(served.ask, served.files), strict=True))
                for name, answer in found.items():
                    assert answer["file"] == name
                    assert answer["probabilities"] == pytest.approx(served.expected[name], abs=1e-6)
                sizes.update(answer["batch"] for answer in found.values())
        assert max(sizes) == MOST_TOGETHER
        assert all(count % size == 0 for size, count in sizes.items())  # every batch is told by all of its pictures

    def test_heat_maps_come_with_the_answer(self, served: Served) -> None:
        found = served.ask("0.png", {"explain": "true", "top": "1"})
        assert found["heat_map"].startswith("iVBOR") and len(found["probabilities"]) == 1

    def test_the_printed_line_works_as_it_stands(self, served: Served) -> None:
        (line,) = [line for line in served.command.said.splitlines() if line.startswith("curl")]
        if shutil.which("curl") is None:
            pytest.skip("no curl is installed")
        said = subprocess.run(shlex.split(line), capture_output=True, check=True, timeout=60).stdout
        assert json.loads(said)["pictures"][0]["predicted"] in "abc"

    def test_pages_and_health_are_served(self, served: Served) -> None:
        for path, word in (("/", "<h1>tiny</h1>"), ("/docs", "POST /predict"), ("/health", '"status":"ok"')):
            with urllib.request.urlopen(f"{served.where}{path}", timeout=60) as reply:
                assert word in reply.read().decode()

    def test_a_body_that_never_ends_is_refused(self, served: Served) -> None:
        connection = http.client.HTTPConnection(served.where.removeprefix("http://"), timeout=60)
        connection.putrequest("POST", "/predict")
        connection.putheader("content-type", "application/json")
        connection.putheader("content-length", str(10**12))
        connection.endheaders()
        connection.send(bytes(1000))
        reply = connection.getresponse()
        assert reply.status == 413 and "may have 20 MB" in json.load(reply)["problem"]
        connection.close()

    def test_it_says_little_and_ends_in_order(self, served: Served) -> None:
        begin = time.monotonic()
        os.killpg(served.command.process.pid, signal.SIGINT)  # as a terminal does, to all that it began
        assert served.command.end(END_SECONDS) == 0
        assert time.monotonic() - begin < END_SECONDS
        assert served.command.left(5) == {}
        lines = served.command.said.splitlines()
        assert lines[0].startswith("starting: loading ")
        assert lines[1].startswith(f"tiny (3 classes) is served at {served.where}")
        assert lines[-2:] == ["raytl: interrupted: ending, press again to stop at once", "raytl: the server has ended"]
        assert len(lines) == 8


@pytest.mark.slow
@pytest.mark.ray
def test_who_finds_no_place_is_told_to_come_again_and_a_kill_leaves_nothing(tmp_path: Path) -> None:
    saved_model(tmp_path / "tiny")
    data = png(1, 3000, 2500)
    command, where = start(tmp_path, "--max-batch", "1", "--max-wait-ms", "0")
    try:
        with ThreadPoolExecutor(140) as pool:
            replies = list(pool.map(lambda _: post(where, {"x.png": data}), range(140)))
        assert {status for status, _, _ in replies} == {200, 503}
        for status, said, headers in replies:
            if status == 503:
                assert headers["retry-after"] == "1" and "send the request again after 1 s" in said["problem"]
            else:
                assert said["pictures"][0]["batch"] == 1
        assert post(where, {"x.png": data})[0] == 200
    finally:
        command.kill()
    assert command.left(40) == {}
