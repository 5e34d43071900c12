from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from segrun.data.read import intensity as module
from segrun.data.read.intensity import Intensity, Scaled
from segrun.errors import DataError, RequestError
from segrun.types import ClassMap


def raw(*values: float, channels: int = 1) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32).reshape(channels, 1, -1)


class Given(Scaled):
    """Images from memory."""

    def __init__(self, images: dict[str, NDArray[np.float32]], scaling: dict[str, Any]) -> None:
        self.images, self.intensity = images, Intensity(**scaling)
        self.names, self.classes, self.asked = tuple(images), ClassMap.of(("a", "b")), list[str]()
        self.notes: Sequence[str] = ("before",)

    def raw(self, name: str) -> NDArray[np.float32]:
        self.asked.append(name)
        return self.images[name]

    def mask(self, name: str) -> torch.Tensor:
        return torch.zeros(self.images[name].shape[1:], dtype=torch.uint8)


def test_a_window_of_hounsfield_units_is_stretched_and_what_lies_outside_is_clipped() -> None:
    scaled = Intensity("fixed", -160, 240)(raw(-1000, -160, 40, 140, 240, 3000))
    assert scaled.dtype == torch.float32
    assert scaled.flatten().tolist() == [0, 0, 0.5, 0.75, 1, 1]


def test_each_channel_has_its_own_ends() -> None:
    scaled = Intensity("fixed", [0, 100], [10, 300])(raw(5, 10, 200, 250, channels=2))
    assert scaled.flatten().tolist() == [0.5, 1, 0.5, 0.75]


def test_where_nothing_was_measured_is_zero_and_counts_in_no_percentile() -> None:
    scaled = Intensity("image", 0, 100)(raw(np.nan, 10, 20, 30, np.nan))
    assert scaled.flatten().tolist() == [0, 0, 0.5, 1, 0]
    assert Intensity("image", 0, 100)(raw(np.nan, np.nan)).flatten().tolist() == [0, 0]


@pytest.mark.parametrize("scale", ["image", "dataset"])
def test_percentiles_of_an_image_are_numpys_and_an_unfitted_one_takes_each_image_by_itself(scale: str) -> None:
    values = np.random.default_rng(0).normal(500, 90, (2, 20, 30)).astype(np.float32)
    scaled = Intensity(scale, 2, 97)(values)
    for channel, found in zip(values, scaled, strict=True):
        low, high = np.percentile(channel, (2, 97))
        np.testing.assert_allclose(found, np.clip((channel - low) / (high - low), 0, 1), atol=1e-5)


def test_a_flat_image_is_zero() -> None:
    assert Intensity("image", 0, 100)(raw(7, 7, 7)).flatten().tolist() == [0, 0, 0]


def test_fitted_ends_are_the_percentiles_of_all_images_together() -> None:
    rng = np.random.default_rng(1)
    images = [rng.gamma(2, 100, (3, *size)).astype(np.float32) for size in ((9, 11), (20, 7), (4, 4))]
    images[1][:, :3] = np.nan
    fitted = Intensity("dataset", [1, 2, 0], [99, 90, 100]).fit(images)
    pooled = np.concatenate([image.reshape(3, -1) for image in images], axis=1).astype(np.float64)
    config = fitted.config()
    assert config["scale"] == "fixed"
    assert config["low"] == [np.nanpercentile(channel, q) for channel, q in zip(pooled, (1, 2, 0), strict=True)]
    assert config["high"] == [np.nanpercentile(channel, q) for channel, q in zip(pooled, (99, 90, 100), strict=True)]
    assert torch.equal(Intensity(**config)(images[0]), fitted(images[0]))
    assert all(type(value) is float for value in (*config["low"], *config["high"]))  # YAML and checkpoints take these


def test_large_images_are_sampled_alike_in_every_run() -> None:
    images = [np.random.default_rng(k).normal(k, 1, (1, 300, 300)).astype(np.float32) for k in range(3)]
    one, other = (Intensity("dataset", 1, 99).fit(images).config() for _ in range(2))
    exact = np.percentile(np.stack(images), (1, 99))
    assert one == other
    assert (one["low"][0], one["high"][0]) == (pytest.approx(exact[0], abs=0.05), pytest.approx(exact[1], abs=0.05))
    assert one["low"][0] != exact[0]


@pytest.mark.parametrize("scale", ["fixed", "image"])
def test_the_other_scales_have_nothing_to_fit(scale: str) -> None:
    asked = Intensity(scale, 1, 99)
    assert asked.fit([raw(1, 2)]) is asked


def test_a_channel_without_contrast_in_training_is_refused_by_its_number() -> None:
    sparse = np.zeros((2, 10, 100), np.float32)
    sparse[0] = np.arange(1000).reshape(10, 100)
    sparse[1, 0, 0] = 5000  # one bright pixel of a thousand
    with pytest.raises(DataError, match=r"channel 1 .* 0.5 and 99.5 percentiles are both 0\. Widen"):
        Intensity("dataset", 0.5, 99.5).fit([sparse])


@pytest.mark.parametrize(
    ("scale", "low", "high", "said"),
    [
        ("window", 0, 1, "intensity.scale=window: choose fixed, image, dataset"),
        ("fixed", 5, 5, "low is to be below high"),
        ("fixed", [0, 9], [1, 2], "low is to be below high"),
        ("fixed", float("nan"), 1, "low is to be below high"),
        ("fixed", [1, 2, 3], [4, 5], "each one number, or one a channel"),
        ("fixed", "a", 1, "each one number, or one a channel"),
        ("image", -1, 99, "percentiles, 0 to 100"),
        ("dataset", 1, 101, "percentiles, 0 to 100"),
    ],
)
def test_ends_that_make_no_range_are_refused(scale: str, low: Any, high: Any, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        Intensity(scale, low, high)


def test_ends_of_other_channels_are_refused() -> None:
    with pytest.raises(RequestError, match="has 2 channels, the images have 3"):
        Intensity("fixed", [0, 0], [1, 1])(raw(1, 2, 3, channels=3))


def test_fitting_a_data_set_fixes_its_images_says_so_and_gives_the_config() -> None:
    data = Given(
        {"one": raw(0, 10), "two": raw(20, 30), "three": raw(-50, 90)}, {"scale": "dataset", "low": 0, "high": 100}
    )
    assert data.image("two").flatten().tolist() == [0, 1]
    assert data.fit(("one", "two")) == {"intensity": {"scale": "fixed", "low": [0.0], "high": [30.0]}}
    assert data.image("two").flatten().tolist() == pytest.approx([2 / 3, 1])
    assert data.image("three").flatten().tolist() == [0, 1]
    assert list(data.notes) == ["before", "intensity: percentiles 0 and 100 of the training images: 0…30"]
    assert data.fit(("three",)) == {}  # it is fixed now
    assert data.image("two").flatten().tolist() == pytest.approx([2 / 3, 1])


def test_of_many_images_a_part_is_measured_evenly_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IMAGES", 3)
    data = Given({f"{k}": raw(k, k + 1) for k in range(9)}, {"scale": "dataset", "low": 0, "high": 100})
    data.fit(data.names)
    assert data.asked == ["0", "4", "8"]
    assert data.notes[-1] == "intensity: percentiles 0 and 100 of 3 of the 9 training images: 0…9"
