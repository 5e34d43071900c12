"""Every target made of a mask or an image, against a slow computation from its definition."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from segrun.errors import RequestError
from segrun.tasks.auxiliary.boundary import Boundary
from segrun.tasks.auxiliary.detection import Detection
from segrun.tasks.auxiliary.distance import Distance
from segrun.tasks.auxiliary.presence import Presence
from segrun.tasks.auxiliary.reconstruction import Reconstruction
from segrun.types import VOID, Sample

NAN = float("nan")


def sample(mask: object) -> Sample:
    mask = torch.as_tensor(mask, dtype=torch.uint8)
    return Sample("s", torch.zeros(3, *mask.shape, dtype=torch.uint8), mask)


def scribble(seed: int, void: float = 0.1) -> Tensor:
    """(13, 18): blots of classes 0, 1 and 3, with void sprinkled in."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((13, 18), np.uint8)
    for label in (1, 3, 0, 1):
        y, x = rng.integers(0, 10), rng.integers(0, 14)
        mask[y : y + rng.integers(1, 7), x : x + rng.integers(1, 9)] = label
    mask[rng.random(mask.shape) < void] = VOID
    return torch.from_numpy(mask)


def detection(**changed: object) -> Detection:
    options = {"background": 0, "smallest": 1, "size": 0.1, "offset": 1.0, "channels": 8, "stride": None}
    return Detection(1.0, **{**options, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize("void", [0.0, 0.03, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_boundary_is_what_lies_within_width_of_another_class(seed: int, void: float, width: int) -> None:
    mask = scribble(seed, void)
    found = Boundary(1.0, width, 5.0, 8, None).target(sample(mask), 4)
    places = list(product(*map(range, mask.shape)))
    for y, x in places:
        near = {int(mask[v, u]) for v, u in places if max(abs(v - y), abs(u - x)) <= width}
        if mask[y, x] == VOID:
            expected = VOID
        elif len(near - {VOID}) > 1:
            expected = 1
        else:
            expected = VOID if VOID in near else 0
        assert found[y, x] == expected


def test_neither_void_nor_the_images_border_is_a_boundary() -> None:
    mask = torch.ones(8, 8, dtype=torch.uint8)
    boundary = Boundary(1.0, 1, 5.0, 8, None)
    assert not boundary.target(sample(mask), 2).any()
    mask[:, 4] = VOID
    found = boundary.target(sample(mask), 2)
    assert set(found[0].tolist()) == {0, VOID} and found[0].tolist() == [0, 0, 0, VOID, VOID, VOID, 0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("reach", [1.0, 3.5, 40.0])
@pytest.mark.parametrize("void", [0.0, 0.03, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_distance_is_that_to_the_nearest_pixel_of_another_class(seed: int, void: float, reach: float) -> None:
    mask = scribble(seed, void)
    found = Distance(1.0, reach, 0.1, 8, None).target(sample(mask), 4)
    assert found.shape == (1, *mask.shape)
    places = list(product(*map(range, mask.shape)))
    for y, x in places:
        away = [(math.hypot(v - y, u - x), int(mask[v, u])) for v, u in places]
        other = min([d for d, c in away if c not in (VOID, mask[y, x])] + [reach])
        hidden = min([d for d, c in away if c == VOID] + [math.inf])
        assert float(found[0, y, x]) == pytest.approx(NAN if hidden < other else other / reach, nan_ok=True)


def test_distance_is_1_where_there_is_one_class() -> None:
    assert (Distance(1.0, 5, 0.1, 8, None).target(sample(torch.full((9, 9), 2)), 3) == 1).all()


def test_presence_knows_what_is_there_and_only_without_void_what_is_not() -> None:
    mask = torch.tensor([[0, 0, 2, 2], [0, 0, 2, 2]])
    strict, lenient = Presence(1.0, 0.0, 0.0), Presence(1.0, 0.2, 0.0)
    assert strict.target(sample(mask), 4).tolist() == [1, 0, 1, 0]
    mask[0, 0] = VOID
    assert strict.target(sample(mask), 4).tolist() == pytest.approx([1, NAN, 1, NAN], nan_ok=True)
    assert lenient.target(sample(mask), 4).tolist() == [1, 0, 1, 0]
    mask[0, :2] = VOID
    assert lenient.target(sample(mask), 4).tolist() == pytest.approx([1, NAN, 1, NAN], nan_ok=True)


def flooded(mask: Tensor) -> list[tuple[int, list[tuple[int, int]]]]:
    """(class, pixels) of each component of a class above 0, found by walking."""
    left = {(y, x) for y, x in product(*map(range, mask.shape)) if 0 < mask[y, x] < VOID}
    found = []
    while left:
        waiting, inside = [left.pop()], []
        label = int(mask[waiting[0]])
        while waiting:
            y, x = waiting.pop()
            inside.append((y, x))
            for near in product((y - 1, y, y + 1), (x - 1, x, x + 1)):
                if near in left and mask[near] == label:
                    left.remove(near)
                    waiting.append(near)
        found.append((label, inside))
    return found


@pytest.mark.parametrize("smallest", [1, 5])
@pytest.mark.parametrize("void", [0.0, 0.05, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_detections_target_is_centernets(seed: int, void: float, smallest: int) -> None:
    mask = scribble(seed, void)
    found = detection(smallest=smallest).target(sample(mask), 4)
    heat = np.zeros((4, 4, 5))
    centres: dict[tuple[int, int], list[tuple[int, list[float]]]] = {}
    for label, inside in (c for c in flooded(mask) if len(c[1]) >= smallest):
        ys, xs = zip(*inside, strict=True)
        height, width = max(ys) + 1 - min(ys), max(xs) + 1 - min(xs)
        y, x = (min(ys) + height / 2) / 4, (min(xs) + width / 2) / 4
        for v, u in product(range(4), range(5)):
            down, right = (v - int(y)) / (0.09 * height / 4), (u - int(x)) / (0.09 * width / 4)
            heat[label, v, u] = max(heat[label, v, u], math.exp(-(down**2) / 2 - right**2 / 2))
        centres.setdefault((int(y), int(x)), []).append((len(inside), [width / 4, height / 4, x % 1, y % 1]))
    for v, u, label in product(range(4), range(5), range(4)):
        if (mask[4 * v : 4 * v + 4, 4 * u : 4 * u + 4] == VOID).any() and heat[label, v, u] < 1:
            heat[label, v, u] = NAN
    assert np.allclose(found[:4].numpy(), heat, equal_nan=True, atol=1e-6)
    for v, u in product(range(4), range(5)):
        box, here = found[4:, v, u].tolist(), centres.get((v, u), [(0, [NAN] * 4)])
        largest = max(area for area, _ in here)  # of several with as many pixels, any
        assert any(box == pytest.approx(b, nan_ok=True) for area, b in here if area == largest)


def test_a_box_is_found_again_from_its_target() -> None:
    mask = torch.zeros(40, 50)
    mask[7:18, 21:44] = 2
    found = detection().target(sample(mask), 3)
    assert found.shape == (7, 10, 13) and (found[2] == 1).sum() == 1 and not found[:2].any()
    row, column = (int(v) for v in (found[2] == 1).nonzero()[0])
    width, height, right, down = found[3:, row, column].tolist()
    assert (width * 4, height * 4) == (23, 11)
    assert ((column + right) * 4, (row + down) * 4) == pytest.approx((32.5, 12.5))
    assert int((~found[3:].isnan()).sum()) == 4


def test_components_touch_at_corners_and_small_ones_are_not_there() -> None:
    mask = torch.zeros(16, 16)
    mask[1:3, 1:3] = mask[3:5, 3:5] = 1
    mask[12, 12] = 1
    assert (detection(smallest=2).target(sample(mask), 2)[1] == 1).sum() == 1
    assert (detection(smallest=1).target(sample(mask), 2)[1] == 1).sum() == 2


def test_of_two_centres_in_a_cell_the_larger_components_box_stays() -> None:
    mask = torch.zeros(8, 8)
    mask[0:8, 0:8] = 2
    mask[4, 4] = 1
    for kinds in (mask, torch.where(mask > 0, 3 - mask, 0)):
        assert detection().target(sample(kinds), 3)[3:5, 1, 1].tolist() == [2, 2]


def test_without_a_background_every_class_has_objects() -> None:
    found = detection(background=None).target(sample(torch.zeros(8, 8)), 2)
    assert (found[0] == 1).sum() == 1 and not found[1].any()


def test_reconstructions_target_is_the_image_from_0_to_1() -> None:
    task = Reconstruction(1.0, 3)
    image = torch.arange(48, dtype=torch.uint8).view(3, 4, 4) * 5
    mask = torch.zeros(4, 4, dtype=torch.uint8)
    assert torch.equal(task.target(Sample("s", image, mask), 2), image / 255)
    sixteen_bit = torch.rand(3, 4, 4)
    assert torch.equal(task.target(Sample("s", sixteen_bit, mask), 2), sixteen_bit)
    with pytest.raises(
        RequestError, match=r"channels=3: s has 1 channels\. Give auxiliary\.reconstruction\.channels=1"
    ):
        task.target(Sample("s", image[:1], mask), 2)
