"""Images that look alike: a perceptual hash, and all pairs of hashes that are near each other."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Hashes = NDArray[np.uint64]
Indices = NDArray[np.int64]
BITS, BANDS = 64, 4
ONE = np.uint64(1)
BLOCK = 1 << 20  # candidates compared at a time
POPCOUNT = np.array([bin(value).count("1") for value in range(1 << 16)], np.uint8)


def difference_hash(grey: NDArray[np.float32]) -> int:
    """(H, W) → 64 bits: whether the picture, shrunk to 8 × 9 means, grows brighter from left to right (dHash: Krawetz,
    "Kind of like that", 2013). Scale, brightness, contrast and re-encoding change few of them or none."""
    means = np.asarray(Image.fromarray(grey).resize((9, 8), Image.Resampling.BOX))
    return int.from_bytes(np.packbits(means[:, 1:] > means[:, :-1]).tobytes(), "big")


def distances(one: Hashes, other: Hashes) -> NDArray[np.uint8]:
    """The number of bits in which they differ."""
    words = np.ascontiguousarray(one ^ other).view(np.uint16).reshape(-1, BITS // 16)
    return np.asarray(POPCOUNT[words].sum(1, dtype=np.uint8))


def near_pairs(hashes: Hashes, distance: int, most: int) -> Indices:
    """(P, 2) places i < j of hashes that differ in at most `distance` bits, the nearest first; some `most` of them
    where there are more.

    Multi-index hashing (Norouzi, Punjani, Fleet, CVPR 2012): of four bands of 16 bits, one differs in at most a quarter
    of `distance`. Only what agrees so far in a band is compared.
    """
    count = max(1, len(hashes))
    found = np.zeros(0, np.int64)  # i · count + j
    for i, j in _candidates(hashes, distance):
        near = distances(hashes[i], hashes[j]) <= distance
        found = np.concatenate((found, (i * count + j)[near]))
        if len(found) >= most:  # one pair may agree in several bands
            found = np.unique(found)
            if len(found) >= most:
                break
    pairs = np.stack(np.divmod(np.unique(found), count), 1)
    far = distances(hashes[pairs[:, 0]], hashes[pairs[:, 1]])
    return pairs[np.argsort(far, kind="stable")][:most]


def _candidates(hashes: Hashes, distance: int) -> Iterator[tuple[Indices, Indices]]:
    """Pairs i < j of which one band is near, a block at a time."""
    for band in _bands(hashes):
        order = np.argsort(band, kind="stable")
        ranked = band[order]
        for flip in _flips(distance // BANDS):
            first = np.searchsorted(ranked, band ^ flip)
            counts = np.searchsorted(ranked, band ^ flip, side="right") - first
            for start, stop in _blocks(counts, BLOCK):
                here = np.arange(start, stop)
                i = np.repeat(here, counts[here])
                nth = np.arange(len(i)) - np.repeat(np.cumsum(counts[here]) - counts[here], counts[here])
                j = order[np.repeat(first[here], counts[here]) + nth]
                yield i[i < j], j[i < j]


def _bands(hashes: Hashes) -> list[NDArray[np.uint16]]:
    """Bits that nearly all images share tell nothing, so the telling ones are dealt out to all bands evenly."""
    bits = [(hashes >> np.uint64(bit) & ONE).astype(np.uint16) for bit in range(BITS)]
    telling = sorted(range(BITS), key=lambda bit: abs(float(bits[bit].mean()) - 0.5)) if len(hashes) else []
    bands = [np.zeros(len(hashes), np.uint16) for _ in range(BANDS)]
    for place, bit in enumerate(telling):
        bands[place % BANDS] |= bits[bit] << np.uint16(place // BANDS)
    return bands


def _flips(most: int) -> list[np.uint16]:
    """Every change of at most so many of a band's bits."""
    width = BITS // BANDS
    return [
        np.uint16(sum(1 << bit for bit in bits))
        for count in range(most + 1)
        for bits in combinations(range(width), count)
    ]


def _blocks(counts: Indices, most: int) -> list[tuple[int, int]]:
    """Ranges with about `most` candidates each, so that memory stays flat."""
    ends = np.cumsum(counts)
    cuts = np.unique(np.searchsorted(ends, np.arange(most, int(ends[-1]) + most, most)) + 1) if len(ends) else ends
    stops = [min(int(cut), len(counts)) for cut in cuts]
    return [(a, b) for a, b in zip([0, *stops], stops, strict=False) if b > a]
