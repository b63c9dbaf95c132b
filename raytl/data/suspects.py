"""Files that are pictures but perhaps none of their class: placeholders, and one picture under several labels.

Suspects are marked, not removed: a white background or a drawing among photographs can look like a placeholder.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from raytl.data.looks import Look
from raytl.data.scan import Scanned
from raytl.results.schemas import PictureRow

# Measured on 1,148 photographs of insects and flowers, one of them a drawn "image not found": it has 0.63 bits, 92%
# background and lies 5.7 deviations below the median; of the photographs two (cut-outs) pass all three bounds.
_MOST_ENTROPY_BITS = 1.5
_LEAST_BACKGROUND = 0.7
_LEAST_DEVIATIONS = 4.0
_LEAST_SCALE_BITS = 0.5  # chosen: below it all pictures look alike and none stands out

_BANDS = 4  # fingerprints that differ in at most 3 of 64 bits agree in at least one of four 16-bit bands
_MOST_BITS_APART = _BANDS - 1
_MOST_SHADES_APART = 4.0  # chosen: mean difference of 8 x 8 RGB copies that new compression or scale leaves, in 0..255
_MOST_PER_BUCKET = 200  # chosen: bounds the pairs compared where thousands of pictures share a band


def mark_suspects(scanned: Sequence[Scanned]) -> tuple[PictureRow, ...]:
    """The rows, those of doubtful pictures with status `suspect` and the reason.

    Doubtful is what lies under two labels byte for byte, and what looks like a placeholder: hardly any colors, nearly
    all of it one background, and by both far from the other pictures of the data set.
    """
    conflicts = label_conflicts([item.row for item in scanned])
    entropies = np.array([item.look.entropy for item in scanned if item.look is not None])
    return tuple(_mark(item, conflicts, _deviation_bound(entropies)) for item in scanned)


def label_conflicts(rows: Sequence[PictureRow]) -> dict[str, tuple[str, ...]]:
    """Classes by the hash of each picture that lies in more than one of them."""
    labels: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.status != "bad" and row.sha256 is not None:
            labels[row.sha256].add(row.label)
    return {digest: tuple(sorted(names)) for digest, names in labels.items() if len(names) > 1}


def near_copies(scanned: Sequence[Scanned]) -> tuple[tuple[str, str], ...]:
    """Pairs of paths whose pictures look the same though their bytes differ (scaled, or compressed anew).

    Candidates agree in 61 of 64 bits of a difference hash; their 8 x 8 copies must then agree too. Of more than 200
    pictures with the same band of a hash only neighbors are compared, so very uniform data may have more.
    """
    seen = [(item.row, item.look) for item in scanned if item.look is not None]
    pairs = {pair for band in range(_BANDS) for bucket in _buckets(seen, band) for pair in _pairs(seen, bucket)}
    return tuple((seen[first][0].path, seen[second][0].path) for first, second in sorted(pairs))


def _deviation_bound(entropies: np.ndarray) -> float:
    """The entropy that lies `_LEAST_DEVIATIONS` robust deviations (median and MAD) below the median."""
    if len(entropies) == 0:
        return 0.0
    middle = float(np.median(entropies))
    scale = 1.4826 * float(np.median(np.abs(entropies - middle)))  # the MAD of a normal distribution is sigma / 1.4826
    return middle - _LEAST_DEVIATIONS * max(scale, _LEAST_SCALE_BITS)


def _mark(item: Scanned, conflicts: dict[str, tuple[str, ...]], bound: float) -> PictureRow:
    if item.look is None:
        return item.row
    reasons = []
    if item.row.sha256 in conflicts:
        reasons.append(f"the same bytes are in the classes {', '.join(conflicts[item.row.sha256])}")
    if _is_placeholder(item.look, bound):
        share, bits = item.look.background, item.look.entropy
        reasons.append(f"looks like a placeholder: {share:.0%} one color, {bits:.1f} bits of color")
    return replace(item.row, status="suspect", reason="; ".join(reasons)) if reasons else item.row


def _is_placeholder(look: Look, bound: float) -> bool:
    return look.background >= _LEAST_BACKGROUND and look.entropy <= min(_MOST_ENTROPY_BITS, bound)


def _buckets(seen: Sequence[tuple[PictureRow, Look]], band: int) -> list[list[int]]:
    buckets: dict[int, list[int]] = defaultdict(list)
    for index, (_, look) in enumerate(seen):
        buckets[look.fingerprint >> (16 * band) & 0xFFFF].append(index)
    return [bucket for bucket in buckets.values() if len(bucket) > 1]


def _pairs(seen: Sequence[tuple[PictureRow, Look]], bucket: list[int]) -> list[tuple[int, int]]:
    ordered = sorted(bucket, key=lambda index: seen[index][1].fingerprint)
    candidates = (
        (first, second)
        for place, first in enumerate(ordered)
        for second in ordered[place + 1 : place + 1 + _MOST_PER_BUCKET]
    )
    return [(min(pair), max(pair)) for pair in candidates if _alike(seen[pair[0]], seen[pair[1]])]


def _alike(one: tuple[PictureRow, Look], other: tuple[PictureRow, Look]) -> bool:
    if one[0].sha256 == other[0].sha256 or (one[1].fingerprint ^ other[1].fingerprint).bit_count() > _MOST_BITS_APART:
        return False
    small = [np.frombuffer(look.small, np.uint8).astype(np.int16) for _, look in (one, other)]
    return float(np.abs(small[0] - small[1]).mean()) <= _MOST_SHADES_APART
