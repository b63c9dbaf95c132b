"""How many requests `raytl serve` answers and how long each waits, with batches of requests and without.

Command:   python experiments/benchmarks/serving.py [--quick] [--out FILE]
Hardware:  two processor cores, no network
Minutes:   4
Expected:  the same answers from both; with 32 clients at once more requests a second with batches than without

Both arms are real servers of the same model, on this machine alone, and are asked in turn: A computes each picture
alone (--max-batch 1), B up to eight of concurrent requests together. Clients are threads of this program, which take
processor time from the servers; each sends one small picture after the other over a connection of its own.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np
import torch
from measure import ROOT, Finding, Goal, conclude, pair_count, parser, refuse

from raytl.data.samples import write_sample
from raytl.models.classifier import build_classifier
from raytl.recipe import Recipe
from raytl.use.card import ModelCard
from raytl.use.export import save_model

HOST = "127.0.0.1"
CLIENTS = (1, 8, 32)
REQUESTS, QUICK_REQUESTS = 128, 32  # chosen: of all clients together in a turn
PER_CLASS = 8  # drawn flowers: 40 pictures
SIDE, RESIZE = 64, 72
START_SECONDS, ANSWER_SECONDS = 180, 60
MOST_DIFFERENCE = 1e-5  # batches are summed in another order
ARMS = {"A": ["--max-batch", "1", "--max-wait-ms", "0"], "B": ["--max-batch", "8"]}

Answers = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Load:
    """One turn: seconds in all, how long each request took, and what was answered."""

    seconds: float
    latencies: tuple[float, ...]
    answers: tuple[tuple[str, dict[str, float], int], ...]

    @property
    def per_second(self) -> float:
        """Requests."""
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """Milliseconds within which this share of the requests was answered."""
        return float(np.quantile(self.latencies, share)) * 1000


def main() -> None:
    options = parser(__doc__, "serving").parse_args()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        model, pictures = made_model(place / "tiny_resnet"), made_pictures(place / "flowers")
        with server(model, place, "A") as port_a, server(model, place, "B") as port_b:
            expected = {each: ask(port_a, pictures, [each]).answers[0][1] for each in pictures}
            count = QUICK_REQUESTS if options.quick else REQUESTS
            found = [
                each
                for clients in CLIENTS
                for each in measured(clients, (port_a, port_b), pictures, expected, count, options.quick)
            ]
    conclude(found, options)


def made_model(folder: Path) -> Path:
    """A carried backbone with a head that was never trained: as fast as one that was."""
    torch.manual_seed(0)
    recipe = Recipe(backbone="tiny_resnet", weights="none", image_size=SIDE, eval_resize=RESIZE, precision="fp32")
    save_model(folder, build_classifier(recipe, 5), recipe, tuple("abcde"), ModelCard("none"))
    return folder


def made_pictures(folder: Path) -> dict[str, bytes]:
    """Files by name."""
    paths = sorted(write_sample("drawn-flowers", folder, PER_CLASS).rglob("*.png"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@contextmanager
def server(model: Path, place: Path, arm: str) -> Iterator[int]:
    """A server of an arm; gives its port."""
    with socket.create_server((HOST, 0)) as free:
        port: int = free.getsockname()[1]
    command = [sys.executable, "-m", "raytl.cli", "serve", str(model), "--port", str(port), *ARMS[arm]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (place / f"{arm}.log").open("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        try:
            wait_for(port, process, place / f"{arm}.log")
            yield port
        finally:
            process.terminate()
            process.wait(START_SECONDS)


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Returns once the server answers."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=ANSWER_SECONDS):
                return
        except OSError:
            time.sleep(0.5)
    raise refuse(f"the server did not start: {log.read_text()}")


def measured(
    clients: int, ports: tuple[int, int], pictures: dict[str, bytes], expected: Answers, count: int, quick: bool
) -> list[Finding]:
    """Throughput and latencies of both arms at one level of concurrency."""
    names = [list(pictures)[index % len(pictures)] for index in range(count)]
    arms: tuple[list[Load], list[Load]] = ([], [])
    longest = 0.0
    while len(arms[0]) < pair_count(longest, quick):
        for loads, port in zip(arms, ports, strict=True):
            loads.append(together(port, pictures, names, clients))
            longest = max(longest, loads[-1].seconds)
    return findings(clients, *arms, expected)


def together(port: int, pictures: dict[str, bytes], names: Sequence[str], clients: int) -> Load:
    """All names asked for by so many clients at once."""
    begin = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        parts = list(pool.map(lambda first: ask(port, pictures, names[first::clients]), range(clients)))
    return Load(
        time.perf_counter() - begin,
        tuple(each for part in parts for each in part.latencies),
        tuple(each for part in parts for each in part.answers),
    )


def ask(port: int, pictures: dict[str, bytes], names: Sequence[str]) -> Load:
    """One client: one picture after the other."""
    connection = http.client.HTTPConnection(HOST, port, timeout=ANSWER_SECONDS)
    latencies, answers = [], []
    for name in names:
        body, headers = form(pictures[name])
        begin = time.perf_counter()
        connection.request("POST", "/predict", body, headers)
        reply = connection.getresponse()
        said = json.load(reply)
        latencies.append(time.perf_counter() - begin)
        if reply.status != 200:
            raise refuse(f"answered with {reply.status}: {said['problem']}")
        answers.append((name, said["pictures"][0]["probabilities"], said["pictures"][0]["batch"]))
    connection.close()
    return Load(sum(latencies), tuple(latencies), tuple(answers))


def form(data: bytes) -> tuple[bytes, dict[str, str]]:
    """A multipart body with one file, and its headers."""
    mark = uuid4().hex
    head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="x.png"\r\n\r\n'
    body = head.encode() + data + f"\r\n--{mark}--\r\n".encode()
    return body, {"content-type": f"multipart/form-data; boundary={mark}"}


def findings(clients: int, a: Sequence[Load], b: Sequence[Load], expected: Answers) -> list[Finding]:
    """Three rows: requests a second, and the latencies of half and of 99 in 100 requests."""
    difference = max(largest_difference(load, expected) for load in (*a, *b))
    batches = [statistics.mean(size for _, _, size in load.answers) for load in b]
    case = f"{clients} client{'s' * (clients > 1)}, batches of {statistics.mean(batches):.1f} in B"
    check, passed = f"same answers within {difference:.0e}", difference <= MOST_DIFFERENCE
    rates = tuple(load.per_second for load in a), tuple(load.per_second for load in b)
    gains = tuple(theirs / ours for ours, theirs in zip(*rates, strict=True))
    goal = Goal(1.0) if clients == max(CLIENTS) else None
    found = [
        Finding(
            measure="serving",
            case=case,
            figure="B/A requests a second",
            values=gains,
            goal=goal,
            unit="/s",
            a=rates[0],
            b=rates[1],
            check=check,
            check_passed=passed,
        )
    ]
    for share in (0.5, 0.99):
        taken = tuple(tuple(load.percentile(share) for load in arm) for arm in (a, b))
        ratio = tuple(theirs / ours for ours, theirs in zip(*taken, strict=True))
        figure = f"B/A latency p{share * 100:.0f}"
        found.append(
            Finding(
                measure="serving",
                case=case,
                figure=figure,
                values=ratio,
                unit="ms",
                a=taken[0],
                b=taken[1],
                check=check,
                check_passed=passed,
            )
        )
    return found


def largest_difference(load: Load, expected: Answers) -> float:
    """Between any probability that was answered and the one that the picture had alone."""
    return max(abs(share - expected[name][label]) for name, found, _ in load.answers for label, share in found.items())


if __name__ == "__main__":
    main()
