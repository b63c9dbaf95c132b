"""Every file of a data set opened, decoded whole and hashed once; what cannot be used is listed with its reason."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from raytl.data.decode import DecodeError, decode
from raytl.data.looks import Look, look_at
from raytl.data.sources import Found, is_picture_name, name_of
from raytl.results.schemas import PictureRow


@dataclass(frozen=True)
class Scanned:
    """One file's row and, where it is a picture, what a small copy of it looks like."""

    row: PictureRow
    look: Look | None


def usable_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def examine(found: Sequence[Found], root: Path, workers: int | None = None) -> list[Scanned]:
    """One row per file, in the order given: `ok` with size (upright) and hash of the bytes, or `bad` with the reason.

    With each picture's look, so that suspects are found without decoding again. No file is ever left out or replaced by
    another. `workers` threads (default: the usable cores) decode.
    """
    real_root = root.resolve()
    with ThreadPoolExecutor(workers or usable_cores()) as pool:
        return list(pool.map(partial(_examine, root=root, real_root=real_root), found))


def _examine(item: Found, root: Path, real_root: Path) -> Scanned:
    refusal = _refusal(item, root, real_root)
    if refusal is not None:
        return _bad(item, root, refusal)
    try:
        data = item.path.read_bytes()
    except OSError as error:
        return _bad(item, root, f"cannot be read: {error.strerror}")
    digest = hashlib.sha256(data).hexdigest()
    try:
        image = decode(data)
    except DecodeError as error:
        return _bad(item, root, str(error), digest)
    look = look_at(image)
    row = PictureRow(
        path=name_of(item.path, root),
        label=item.label,
        split=item.split,
        group=item.group,
        width=image.width,
        height=image.height,
        sha256=digest,
        status="ok",
        brightness=look.brightness,
        contrast=look.contrast,
        sharpness=look.sharpness,
    )
    return Scanned(row, look)


def _bad(item: Found, root: Path, reason: str, digest: str | None = None) -> Scanned:
    path = name_of(item.path, root)
    row = PictureRow(
        path=path,
        label=item.label,
        split=item.split,
        group=item.group,
        width=None,
        height=None,
        sha256=digest,
        status="bad",
        reason=reason,
    )
    return Scanned(row, None)


def _refusal(item: Found, root: Path, real_root: Path) -> str | None:
    """Why a file is not even opened: opening a FIFO would wait for ever, a link may lead anywhere."""
    try:
        inside = item.path.is_relative_to(root)
        if item.path.is_symlink() and inside and not item.path.resolve().is_relative_to(real_root):
            return "a link that leads out of the data folder; such links are not followed"
        mode = item.path.stat().st_mode
    except FileNotFoundError:
        return "a link to nothing" if item.path.is_symlink() else "no such file"
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a loop of links; ValueError: a NUL in the name
        return f"cannot be read: {getattr(error, 'strerror', None) or error}"
    if stat.S_ISDIR(mode):
        return _folder_refusal(item.path)
    if not stat.S_ISREG(mode):
        return "not a regular file (a pipe, socket or device)"
    if not is_picture_name(item.path.name):
        return f"{item.path.suffix or 'no suffix'!r}: not the name of a picture file"
    return None


def _folder_refusal(path: Path) -> str:
    if path.is_symlink():
        return "a link to a folder; such links are not followed"
    return "a folder, not a picture file" if is_picture_name(path.name) else "a folder that cannot be read"
