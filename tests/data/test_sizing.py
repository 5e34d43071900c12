"""Images and masks reach one size by a stated policy, and scores come back to the image's own."""

from __future__ import annotations

import pytest
import torch

from segrun.config.build import to_dataclass
from segrun.data.sizing import Sizing
from segrun.errors import DataError, RequestError
from segrun.types import VOID, Sample


def disc(height: int = 90, width: int = 120, label: int = 7) -> Sample:
    """A disc off the middle, bright in the image and `label` in the mask."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    inside = (y - 40) ** 2 + (x - 70) ** 2 < 900
    return Sample("disc", (inside * 200).to(torch.uint8).repeat(3, 1, 1), (inside * label).to(torch.uint8))


def test_keep_changes_nothing() -> None:
    sample = disc()
    result = Sizing("keep", None).sample(sample)
    assert torch.equal(result.image, sample.image) and torch.equal(result.mask, sample.mask)


def test_crop_leaves_the_whole_image_to_be_cropped_later() -> None:
    assert Sizing("crop", (32, 32)).sample(disc()).image.shape == (3, 90, 120)


@pytest.mark.parametrize("size", [(30, 40), (37, 53), (128, 128), (200, 90)])
def test_resize_gives_the_size_and_never_interpolates_the_mask(size: tuple[int, int]) -> None:
    result = Sizing("resize", size).sample(disc())
    assert result.image.shape == (3, *size) and result.mask.shape == size
    assert result.mask.unique().tolist() == [0, 7] and result.mask.dtype == torch.uint8


@pytest.mark.parametrize("size", [(30, 40), (60, 80), (72, 96), (180, 240)])
def test_resize_keeps_the_mask_on_the_image(size: tuple[int, int]) -> None:
    result = Sizing("resize", size).sample(disc())
    off = (result.image[0] > 100) != (result.mask == 7)
    assert off.float().mean() < 0.003  # no more than where the disc's edge parts a pixel


def test_resize_keeps_floats_floats() -> None:
    sample = disc()
    result = Sizing("resize", (45, 60)).image(sample.image.float() / 255)
    assert result.dtype == torch.float32 and 0.7 < result.max() <= 1


def test_pad_fills_with_black_and_void_at_the_right_and_the_bottom() -> None:
    sample = disc()
    result = Sizing("pad", (100, 128)).sample(sample)
    assert result.image.shape == (3, 100, 128) and result.mask.shape == (100, 128)
    assert torch.equal(result.image[:, :90, :120], sample.image) and torch.equal(result.mask[:90, :120], sample.mask)
    assert not result.image[:, 90:].any() and not result.image[:, :, 120:].any()
    assert (result.mask[90:] == VOID).all() and (result.mask[:, 120:] == VOID).all()


def test_what_was_padded_is_restored_exactly() -> None:
    sizing, logits = Sizing("pad", (100, 128)), torch.randn(2, 3, 90, 120)
    padded = sizing.image(logits[0], "x")[None]
    assert torch.equal(sizing.restore(padded, (90, 120)), logits[:1])


def test_what_was_resized_is_restored_to_the_images_own_size() -> None:
    sizing, sample = Sizing("resize", (45, 60)), disc()
    restored = sizing.restore(sizing.image(sample.image.float())[None], (90, 120))
    assert restored.shape == (1, 3, 90, 120)
    assert ((restored[0, 0] > 100) != (sample.mask == 7)).float().mean() < 0.005


def test_equal_sizes_are_restored_untouched() -> None:
    logits = torch.randn(1, 2, 9, 7)
    assert torch.equal(Sizing("resize", (9, 7)).restore(logits, (9, 7)), logits)


def test_an_image_larger_than_its_padding_is_named() -> None:
    with pytest.raises(DataError, match=r"disc: 120×90 is larger than sizing\.size 128×80"):
        Sizing("pad", (80, 128)).sample(disc())


def test_mixed_sizes_are_refused_where_nothing_fits_them() -> None:
    sizes = [(10, 20), (10, 20), (5, 20)]
    with pytest.raises(DataError, match=r"2 sizes, from 20×5 to 20×10\. Choose how to fit them: sizing\.fit="):
        Sizing("keep", None).check(sizes)
    Sizing("keep", None).check(sizes[:2])
    Sizing("resize", (8, 8)).check(sizes)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"fit": "stretch", "size": [8, 8]}, r"sizing\.fit=stretch: must be one of keep, resize, pad, crop"),
        ({"fit": "keep", "size": [8, 8]}, r"takes no sizing\.size"),
        ({"fit": "resize", "size": None}, r"needs sizing\.size=\[height,width\]"),
        ({"fit": "pad", "size": [8]}, r"sizing\.size=\[8\]"),
        ({"fit": "crop", "size": [0, 8]}, r"sizing\.size=\[0,8\]"),
        ({"fit": "crop", "size": 8}, r"sizing\.size=8"),
        ({"fit": "keep", "size": None, "tile": 31}, r"sizing\.tile=31"),
        ({"fit": "keep", "size": None, "overlap": 1.0}, r"sizing\.overlap=1\.0"),
        ({"fit": "keep", "size": None, "overlap": -0.1}, r"sizing\.overlap=-0\.1"),
    ],
)
def test_policies_that_make_no_sense_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        to_dataclass(values, Sizing, "sizing")
