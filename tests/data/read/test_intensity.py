"""Raw values become [0, 1] between fixed values or percentiles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from segrun.config.build import to_dataclass
from segrun.data.read.intensity import Intensity, IntensitySettings
from segrun.errors import DataError, RequestError


def raw(*values: float, channels: int = 1) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32).reshape(channels, 1, -1)


def make(scale: str, low: Any, high: Any) -> Intensity:
    return Intensity(IntensitySettings(scale, low, high))


def test_a_window_of_hounsfield_units_is_stretched_and_what_lies_outside_is_clipped() -> None:
    scaled = make("fixed", -160, 240)(raw(-1000, -160, 40, 140, 240, 3000))
    assert scaled.dtype == torch.float32
    assert scaled.flatten().tolist() == [0, 0, 0.5, 0.75, 1, 1]


def test_each_channel_has_its_own_ends() -> None:
    scaled = make("fixed", [0, 100], [10, 300])(raw(5, 10, 200, 250, channels=2))
    assert scaled.flatten().tolist() == [0.5, 1, 0.5, 0.75]


def test_where_nothing_was_measured_is_zero_and_counts_in_no_percentile() -> None:
    scaled = make("image", 0, 100)(raw(np.nan, 10, 20, 30, np.nan))
    assert scaled.flatten().tolist() == [0, 0, 0.5, 1, 0]
    assert make("image", 0, 100)(raw(np.nan, np.nan)).flatten().tolist() == [0, 0]


@pytest.mark.parametrize("scale", ["image", "dataset"])
def test_percentiles_of_an_image_are_numpys_and_an_unfitted_one_takes_each_image_by_itself(scale: str) -> None:
    values = np.random.default_rng(0).normal(500, 90, (2, 20, 30)).astype(np.float32)
    scaled = make(scale, 2, 97)(values)
    for channel, result in zip(values, scaled, strict=True):
        low, high = np.percentile(channel, (2, 97))
        np.testing.assert_allclose(result, np.clip((channel - low) / (high - low), 0, 1), atol=1e-5)


def test_a_flat_image_is_zero() -> None:
    assert make("image", 0, 100)(raw(7, 7, 7)).flatten().tolist() == [0, 0, 0]


def test_fitted_ends_are_the_percentiles_of_all_images_together() -> None:
    rng = np.random.default_rng(1)
    images = [rng.gamma(2, 100, (3, *size)).astype(np.float32) for size in ((9, 11), (20, 7), (4, 4))]
    images[1][:, :3] = np.nan
    fitted = make("dataset", [1, 2, 0], [99, 90, 100]).fit(images)
    pooled = np.concatenate([image.reshape(3, -1) for image in images], axis=1).astype(np.float64)
    config = fitted.settings.to_dict()
    assert config["scale"] == "fixed"
    assert config["low"] == [np.nanpercentile(channel, q) for channel, q in zip(pooled, (1, 2, 0), strict=True)]
    assert config["high"] == [np.nanpercentile(channel, q) for channel, q in zip(pooled, (99, 90, 100), strict=True)]
    assert torch.equal(make(**config)(images[0]), fitted(images[0]))
    assert all(type(value) is float for value in (*config["low"], *config["high"]))  # YAML and checkpoints take these


def test_large_images_are_sampled_alike_in_every_run() -> None:
    images = [np.random.default_rng(k).normal(k, 1, (1, 300, 300)).astype(np.float32) for k in range(3)]
    one, other = (make("dataset", 1, 99).fit(images).settings.to_dict() for _ in range(2))
    exact = np.percentile(np.stack(images), (1, 99))
    assert one == other
    assert (one["low"][0], one["high"][0]) == (pytest.approx(exact[0], abs=0.05), pytest.approx(exact[1], abs=0.05))
    assert one["low"][0] != exact[0]


@pytest.mark.parametrize("scale", ["fixed", "image"])
def test_the_other_scales_have_nothing_to_fit(scale: str) -> None:
    intensity = make(scale, 1, 99)
    assert intensity.fit([raw(1, 2)]) is intensity


def test_a_channel_without_contrast_in_training_is_refused_by_its_number() -> None:
    sparse = np.zeros((2, 10, 100), np.float32)
    sparse[0] = np.arange(1000).reshape(10, 100)
    sparse[1, 0, 0] = 5000  # one bright pixel of a thousand
    with pytest.raises(DataError, match=r"channel 1 .* 0.5 and 99.5 percentiles are both 0\. Widen"):
        make("dataset", 0.5, 99.5).fit([sparse])


@pytest.mark.parametrize(
    ("scale", "low", "high", "message"),
    [
        ("window", 0, 1, r"intensity\.scale=window: must be one of fixed, image, dataset"),
        ("fixed", 5, 5, "low must be below high"),
        ("fixed", [0, 9], [1, 2], "low must be below high"),
        ("fixed", float("nan"), 1, r"intensity\.low=nan: must be a number"),
        ("fixed", 0, 1e30, r"intensity\.high=1e\+30: must be a number"),
        ("fixed", [1, 2, 3], [4, 5], "give one number each, or one per channel"),
        ("fixed", [], 1, r"intensity\.low=\[\]: must be a number"),
        ("fixed", "a", 1, r"intensity\.low=a: must be a number"),
        ("image", -1, 99, "percentiles from 0 to 100"),
        ("dataset", 1, 101, "percentiles from 0 to 100"),
    ],
)
def test_ends_that_make_no_range_are_refused(scale: str, low: Any, high: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        to_dataclass({"scale": scale, "low": low, "high": high}, IntensitySettings, "dataset.intensity")


def test_ends_of_other_channels_are_refused() -> None:
    with pytest.raises(RequestError, match="have 2 channels, the images have 3"):
        make("fixed", [0, 0], [1, 1])(raw(1, 2, 3, channels=3))
