"""Perceptual hashes of images, and all pairs of similar hashes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Hashes = NDArray[np.uint64]
Band = NDArray[np.uint16]
Indices = NDArray[np.int64]
BITS, BANDS = 64, 4
BAND_BITS = BITS // BANDS
ONE = np.uint64(1)
BLOCK = 1 << 20  # candidates compared at a time
POPCOUNT = np.array([bin(value).count("1") for value in range(1 << 16)], np.uint8)


def difference_hash(grey: NDArray[np.float32]) -> int:
    """The perceptual hash dHash (Krawetz, "Kind of like that", 2013).

    The image is shrunk to 8 × 9 means; each bit says whether it becomes brighter from left to right. Scale,
    brightness, contrast and re-encoding change few of the bits or none.

    Args:
        grey: (H, W)

    Returns:
        64 bits.
    """
    means = np.asarray(Image.fromarray(grey).resize((9, 8), Image.Resampling.BOX))
    return int.from_bytes(np.packbits(means[:, 1:] > means[:, :-1]).tobytes(), "big")


def distances(first: Hashes, second: Hashes) -> NDArray[np.uint8]:
    """The number of bits in which hashes differ."""
    words = np.ascontiguousarray(first ^ second).view(np.uint16).reshape(-1, BITS // 16)
    return np.asarray(POPCOUNT[words].sum(1, dtype=np.uint8))


def near_pairs(hashes: Hashes, distance: int, most: int) -> Indices:
    """All pairs of similar hashes, by multi-index hashing (Norouzi, Punjani, Fleet, CVPR 2012).

    Of the four bands of 16 bits of two similar hashes, at least one differs in at most a quarter of `distance`. Only
    hashes with such a band are compared.

    Args:
        hashes: (N,)
        distance: Largest number of bits that differ.
        most: Largest number of pairs; some are chosen if there are more.

    Returns:
        (P, 2) indices i < j, the most similar pair first.
    """
    count = max(1, len(hashes))
    codes = np.zeros(0, np.int64)  # i · count + j of each pair
    for first, second in _candidates(hashes, distance):
        near = distances(hashes[first], hashes[second]) <= distance
        codes = np.concatenate((codes, (first * count + second)[near]))
        if len(codes) >= most:
            codes = np.unique(codes)  # a pair may agree in several bands
            if len(codes) >= most:
                break
    pairs = np.stack(np.divmod(np.unique(codes), count), 1)
    order = np.argsort(distances(hashes[pairs[:, 0]], hashes[pairs[:, 1]]), kind="stable")
    return pairs[order][:most]


def _candidates(hashes: Hashes, distance: int) -> Iterator[tuple[Indices, Indices]]:
    """Pairs i < j with one similar band, in blocks."""
    for band in _bands(hashes):
        order = np.argsort(band, kind="stable")
        sorted_band = band[order]
        for change in _changes(distance // BANDS):
            first = np.searchsorted(sorted_band, band ^ change)
            counts = np.searchsorted(sorted_band, band ^ change, side="right") - first
            for start, stop in _blocks(counts, BLOCK):
                i, offsets = _repeat(np.arange(start, stop), counts)
                j = order[first[i] + offsets]
                yield i[i < j], j[i < j]


def _repeat(indices: Indices, counts: Indices) -> tuple[Indices, Indices]:
    """Each index as often as `counts[index]` says, and beside it 0, 1, … counting its repetitions."""
    repeated = np.repeat(indices, counts[indices])
    begins = np.cumsum(counts[indices]) - counts[indices]
    return repeated, np.arange(len(repeated)) - np.repeat(begins, counts[indices])


def _bands(hashes: Hashes) -> list[Band]:
    """Four bands of 16 bits per hash.

    Bits that nearly all images share do not separate them, so the separating bits are divided evenly among the bands.
    """
    bands = [np.zeros(len(hashes), np.uint16) for _ in range(BANDS)]
    if not len(hashes):
        return bands
    bits = [(hashes >> np.uint64(bit) & ONE).astype(np.uint16) for bit in range(BITS)]
    ranked = sorted(range(BITS), key=lambda bit: abs(float(bits[bit].mean()) - 0.5))
    for rank, bit in enumerate(ranked):
        bands[rank % BANDS] |= bits[bit] << np.uint16(rank // BANDS)
    return bands


def _changes(most: int) -> list[np.uint16]:
    """Every change of at most so many bits of a band, as the mask of the bits."""
    changes = []
    for count in range(most + 1):
        for bits in combinations(range(BAND_BITS), count):
            changes.append(np.uint16(sum(1 << bit for bit in bits)))
    return changes


def _blocks(counts: Indices, most: int) -> list[tuple[int, int]]:
    """Ranges of indices with about `most` candidates each, so that memory stays constant."""
    if not len(counts):
        return []
    ends = np.cumsum(counts)
    multiples = np.arange(most, int(ends[-1]) + most, most)
    cuts = np.unique(np.searchsorted(ends, multiples) + 1)
    stops = [min(int(cut), len(counts)) for cut in cuts]
    return [(start, stop) for start, stop in pairwise([0, *stops]) if stop > start]
