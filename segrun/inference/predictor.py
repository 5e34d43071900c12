"""Prediction for images in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from segrun.data.dataset import Dataset, Reader
from segrun.data.read.images import image_to_tensor, read_image
from segrun.data.read.intensity import Intensity
from segrun.errors import RequestError
from segrun.inference.inference import Inference
from segrun.types import ClassMap

Sidecars = Callable[[Path], Mapping[str, str]]
ArrayOrImage = Image.Image | NDArray[np.generic]
OPAQUE = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}  # the largest alpha value; 1 for floats


class Predictor:
    """Predicts masks: `predictor(image)` gives (H, W) uint8 class indices of the image's own size.

    An image is a PIL image, which is turned as its EXIF orientation says, or an array (H, W) or (H, W, channels) of
    uint8, uint16 or floats in [0, 1].

    Args:
        inference: The model; it is put in eval mode.
        classes: Names and colours of the classes.
        read: Reads an image file as the training read its images; by default, as a picture.
        intensity: Scales raw values as in training. Images then hold raw values.
        sidecars: See `Dataset.sidecars`.
        apply_orientation: Whether to turn PIL images as their EXIF orientation says.
    """

    def __init__(
        self,
        inference: Inference,
        classes: ClassMap,
        read: Reader | None = None,
        intensity: Intensity | None = None,
        sidecars: Sidecars = Dataset.sidecars,
        apply_orientation: bool = True,
    ) -> None:
        self.inference = inference
        self.classes = classes
        self.intensity = intensity
        self.sidecars = sidecars
        self.apply_orientation = apply_orientation
        self.inference.model.eval()
        self.channels = int(inference.model.mean.numel())  # type: ignore[operator,union-attr]
        self.read = read or partial(read_image, channels=self.channels)

    def __call__(self, image: ArrayOrImage) -> NDArray[np.uint8]:
        return np.asarray(self.probabilities(image).argmax(0), dtype=np.uint8)

    def probabilities(self, image: ArrayOrImage) -> NDArray[np.float32]:
        """The class probabilities of each pixel.

        Returns:
            (C, H, W), summing to 1 over the classes.

        Raises:
            RequestError: An array has another shape or other values.
        """
        if isinstance(image, Image.Image) and self.apply_orientation:
            image = ImageOps.exif_transpose(image)
        tensor = _to_tensor(image, self.channels, self.intensity)
        probabilities: NDArray[np.float32] = self.inference.logits(tensor[None])[0].softmax(0).cpu().numpy()
        return probabilities


def _to_tensor(image: ArrayOrImage, channels: int, intensity: Intensity | None) -> Tensor:
    """(channels, H, W), uint8 or float32 in [0, 1]."""
    if isinstance(image, Image.Image) and intensity is None:
        return image_to_tensor(image, channels=channels)
    array = np.asarray(image)
    if array.ndim == 2:
        array = array[..., None] if intensity is not None else _grey_to_channels(array, channels)
    if array.ndim != 3 or array.shape[2] != channels or not array.size:
        raise RequestError(f"an image array must have the shape (H, W) or (H, W, {channels}), not {array.shape}.")
    if intensity is not None:
        return intensity(array.transpose(2, 0, 1).astype(np.float32))
    if array.dtype != np.uint8:
        array = _to_unit_floats(array)
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))


def _grey_to_channels(array: NDArray[np.generic], channels: int) -> NDArray[np.generic]:
    repeated = np.repeat(array[..., None], channels, axis=2)
    if channels == 4:
        repeated[..., 3] = OPAQUE.get(array.dtype, 1)
    return repeated


def _to_unit_floats(array: NDArray[np.generic]) -> NDArray[np.float32]:
    if array.dtype == np.uint16:
        return array.astype(np.float32) / np.float32(65535)
    floats = array.astype(np.float32)
    if floats.min() < 0 or floats.max() > 1:
        raise RequestError("an image array of floats must have values in [0, 1]. Give uint8 for values from 0 to 255.")
    return floats
