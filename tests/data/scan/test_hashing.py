"""The perceptual hash stays where a picture does; near pairs are all that brute force finds."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from segrun.data.scan import hashing
from segrun.data.scan.hashing import difference_hash, distances, near_pairs
from segrun.data.sets.shapes import Shapes

Change = Callable[[Image.Image], Image.Image]


def picture(index: int) -> Image.Image:
    return Image.fromarray(Shapes(96, 8, 0, 0, 7, 0).image(f"train-{index:03}").permute(1, 2, 0).numpy())


def hashed(image: Image.Image) -> int:
    return difference_hash(np.asarray(image.convert("F")))


def encoded(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=60)
    return Image.open(buffer).convert("RGB")


@pytest.mark.parametrize("index", range(4))
@pytest.mark.parametrize(
    "change",
    [
        encoded,
        lambda image: ImageEnhance.Brightness(image).enhance(0.7),
        lambda image: ImageEnhance.Contrast(image).enhance(0.8),
        lambda image: image.resize((180, 180), Image.Resampling.BICUBIC),
        lambda image: image.resize((60, 48), Image.Resampling.BOX),
    ],
    ids=["encoded", "darker", "flatter", "larger", "smaller and stretched"],
)
def test_a_changed_copy_keeps_its_hash_but_for_a_few_bits(index: int, change: Change) -> None:
    assert (hashed(picture(index)) ^ hashed(change(picture(index)))).bit_count() <= 6


def test_different_pictures_have_different_hashes() -> None:
    hashes = [hashed(picture(index)) for index in range(8)]
    assert min((a ^ b).bit_count() for a, b in itertools.combinations(hashes, 2)) > 12


def test_the_hash_is_brighter_to_the_right_row_by_row() -> None:
    rising = np.tile(np.arange(90, dtype=np.float32), (80, 1))
    assert difference_hash(rising) == 2**64 - 1 and difference_hash(rising[:, ::-1].copy()) == 0
    rising[40:] = 7  # the lower four rows of eight are flat
    assert difference_hash(rising) == (2**32 - 1) << 32


def test_distances_count_bits() -> None:
    one = np.array([0, 0b1011, 2**64 - 1], np.uint64)
    assert distances(one, np.zeros(3, np.uint64)).tolist() == [0, 3, 64]


def clustered(count: int, seed: int) -> np.ndarray:
    """Random hashes, most of them others with up to twelve bits changed; some are equal, some bits the same in all."""
    rng = np.random.default_rng(seed)
    result = [int(value) for value in rng.integers(0, 2**63, 8)]
    while len(result) < count:
        bits = rng.choice(64, rng.integers(0, 13), replace=False)
        result.append(result[rng.integers(len(result))] ^ sum(1 << int(bit) for bit in bits))
    return np.array(result, np.uint64) & np.uint64(2**64 - 1 - 0b1111)


@pytest.mark.parametrize("distance", [0, 3, 4, 6, 8, 11])
def test_near_pairs_are_those_of_brute_force(distance: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "BLOCK", 50)  # many blocks
    hashes = clustered(160, distance)
    i, j = np.triu_indices(len(hashes), 1)
    near = distances(hashes[i], hashes[j])
    expected = set(zip(i[near <= distance].tolist(), j[near <= distance].tolist(), strict=True))
    pairs = near_pairs(hashes, distance, most=100_000)
    assert expected and set(map(tuple, pairs.tolist())) == expected and len(pairs) == len(expected)
    order = distances(hashes[pairs[:, 0]], hashes[pairs[:, 1]]).tolist()
    assert order == sorted(order)


@pytest.mark.parametrize("count", [0, 1])
def test_without_two_images_there_is_no_pair(count: int) -> None:
    assert near_pairs(np.zeros(count, np.uint64), 6, 10).shape == (0, 2)


def test_many_equal_images_give_a_bounded_number_of_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "BLOCK", 10_000)
    assert len(near_pairs(np.full(5_000, 7, np.uint64), 6, most=500)) == 500  # of 12 million
