"""Masks as pictures."""

from __future__ import annotations

import numpy as np
import torch

from segrun.report.pictures import OVERLAY_GAP, OVERLAY_WIDTH, colour_mask, overlay
from segrun.types import VOID, ClassMap, Sample

CLASSES = ClassMap(("ground", "thing"), ((0, 0, 0), (200, 100, 0)))


def test_classes_have_their_colours_and_void_is_white() -> None:
    picture = colour_mask(np.array([[0, 1, VOID]], np.uint8), CLASSES)
    assert picture.tolist() == [[[0, 0, 0], [200, 100, 0], [255, 255, 255]]]


def test_an_overlay_shows_the_image_and_next_to_it_the_image_under_its_mask() -> None:
    mask = torch.full((40, 130), VOID, dtype=torch.uint8)
    mask[:20] = 1
    sample = Sample("a", torch.full((3, 40, 130), 100, dtype=torch.uint8), mask)
    picture = overlay(sample, CLASSES)
    assert picture.shape == (80, 2 * OVERLAY_WIDTH + OVERLAY_GAP, 3)
    image, gap, blended = np.split(picture, (OVERLAY_WIDTH, OVERLAY_WIDTH + OVERLAY_GAP), axis=1)
    assert (image == 100).all() and (gap == 255).all()
    assert (blended[:40] == [155, 100, 45]).all() and (blended[40:] == 100).all()
