"""What decoding a picture costs: Pillow beside torchvision's decoder, and threads beside processes.

Command:   python experiments/benchmarks/decoding.py [--data DIR] [--side N] [--workers N] [--quick] [--out FILE]
Hardware:  two processor cores; no network
Minutes:   2
Expected:  A/B near 1: no decoder is much faster. Threads and processes have only been compared on busy cores, where
           threads decoded between a fifth of what processes did and as much

A picture is decoded whole and resized to a shorter side of 256 pixels, as the store holds it and as it is read where
there is no store. Arm A is Pillow alone on one thread, arm B torchvision's decoder with Pillow's resizing; the check
counts the pictures of which both make the same bytes. `draft` lets Pillow's JPEG decoder leave out detail that the
resizing would remove: shown for its price, not used, since its bytes differ. In the second comparison arm A are
threads, arm B processes that send their pixels back. JPEG files of `--data` are read (at most 300); without it,
drawn flowers are enlarged to 500 x 375 and saved as JPEG.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from measure import Arm, Finding, conclude, parser, refuse, take_turns
from PIL import Image
from shown import photographs
from torchvision.io import ImageReadMode, decode_jpeg

from raytl.data.decode import decode, resize_shorter

MEASURE = "S5"
MOST = 300  # pictures; more would only take longer
Read = Callable[[bytes], np.ndarray]


def main() -> None:
    options = _parse()
    torch.set_num_threads(1)
    with TemporaryDirectory() as place:
        files = jpegs(options.data or photographs(Path(place), MOST // 5))
    if not files:
        raise refuse(f"--data {options.data}: holds no file whose name ends in .jpg or .jpeg")
    files = files[: 20 if options.quick else MOST]
    reads: dict[str, Read] = {
        "torchvision": partial(by_torchvision, side=options.side),
        "draft": partial(by_draft, side=options.side),
    }
    findings = [decoder(name, read, files, options) for name, read in reads.items()]
    findings.append(pools(files, options))
    conclude(findings, options)


def _parse() -> argparse.Namespace:
    made = parser(__doc__, "decoding")
    made.add_argument("--data", type=Path, help="a folder, searched with all folders below, of JPEG files")
    made.add_argument("--side", type=int, default=256, help="shorter side in pixels (default: %(default)s)")
    made.add_argument("--workers", type=int, default=2, help="threads, or processes (default: %(default)s)")
    return made.parse_args()


def jpegs(folder: Path) -> list[bytes]:
    """The JPEG files below `folder`, taken evenly from all of them."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    return [path.read_bytes() for path in found[:: max(1, len(found) // MOST)]]


def by_pillow(data: bytes, side: int) -> np.ndarray:
    """What raytl does with a file."""
    return resize_shorter(decode(data), side)


def by_torchvision(data: bytes, side: int) -> np.ndarray:
    """The same with torchvision's decoder, which leaves turned pictures as they lie."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the bytes cannot be written, which nobody does
        planes = decode_jpeg(torch.frombuffer(data, dtype=torch.uint8), mode=ImageReadMode.RGB)
    return resize_shorter(Image.fromarray(planes.permute(1, 2, 0).contiguous().numpy()), side)


def by_draft(data: bytes, side: int) -> np.ndarray:
    """The same by Pillow, whose decoder may halve the picture as long as it stays larger than wanted."""
    with Image.open(io.BytesIO(data)) as image:
        image.draft("RGB", (side, side))
        return resize_shorter(image.convert("RGB"), side)


def decoder(name: str, read: Read, files: Sequence[bytes], options: argparse.Namespace) -> Finding:
    """Milliseconds of processor time for a picture: Pillow (A) and another way (B)."""
    pillow = partial(by_pillow, side=options.side)
    same = sum(np.array_equal(pillow(data), read(data)) for data in files)
    taken = take_turns(priced(pillow, files), priced(read, files), options.quick)
    return Finding(
        measure=MEASURE,
        case=f"Pillow and {name}, one thread",
        figure="A/B",
        values=taken.a_over_b,
        unit="ms/picture",
        a=taken.a,
        b=taken.b,
        check=f"{same} of {len(files)} pictures the same",
    )


def priced(read: Read, files: Sequence[bytes]) -> Arm:
    """Reads all files and takes the processor time for one in milliseconds, which other programs do not lengthen."""

    def arm() -> float:
        begin = time.process_time()
        for data in files:
            read(data)
        return (time.process_time() - begin) / len(files) * 1e3

    return arm


def pools(files: Sequence[bytes], options: argparse.Namespace) -> Finding:
    """Pictures per second by threads (A) and by processes (B) that were started before."""
    work = partial(by_pillow, side=options.side)
    spawning = multiprocessing.get_context("forkserver")
    with (
        ThreadPoolExecutor(options.workers) as threads,
        ProcessPoolExecutor(options.workers, mp_context=spawning) as processes,
    ):
        for pool in (threads, processes):
            speed(pool, work, files[: 4 * options.workers])  # started, and all that is imported there
        taken = take_turns(
            lambda: speed(threads, work, files), lambda: speed(processes, work, files), quick=options.quick
        )
    return Finding(
        measure=MEASURE,
        case=f"{options.workers} threads and processes",
        figure="A/B",
        values=taken.a_over_b,
        unit="pictures/s",
        a=taken.a,
        b=taken.b,
    )


def speed(pool: Executor, work: Read, files: Sequence[bytes]) -> float:
    """Pictures per second of `pool`."""
    begin = time.perf_counter()
    done: Iterable[np.ndarray] = pool.map(work, files)
    return sum(1 for _ in done) / (time.perf_counter() - begin)


if __name__ == "__main__":
    main()
