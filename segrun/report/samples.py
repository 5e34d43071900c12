"""Sample pictures of a run: image, truth and prediction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from segrun.data.dataset import Dataset
from segrun.files import atomic_write
from segrun.inference.inference import Inference
from segrun.names import shortened
from segrun.report.pictures import colour_mask
from segrun.types import to_display_rgb

NUM_SAMPLES = 6


def save_samples(dataset: Dataset, names: Sequence[str], inference: Inference, folder: Path) -> None:
    """Write image, truth and prediction side by side, for the same few images in every run on this data.

    Args:
        dataset: The dataset that holds the images.
        names: The images to choose from; the chosen ones are evenly spaced.
        inference: The model to predict with.
        folder: The folder of the PNG files; it is created.
    """
    folder.mkdir(exist_ok=True)
    inference.model.eval()
    last = len(names) - 1
    indices = sorted({round(number * last / max(1, NUM_SAMPLES - 1)) for number in range(NUM_SAMPLES)})
    for index in indices:
        sample = dataset.sample(names[index])
        prediction = inference.logits(sample.image[None]).argmax(1)[0].byte().cpu()
        truth_picture = colour_mask(sample.mask.numpy(), dataset.classes)
        prediction_picture = colour_mask(prediction.numpy(), dataset.classes)
        panel = np.concatenate([to_display_rgb(sample.image), truth_picture, prediction_picture], axis=1)
        path = folder / shortened(f"{names[index].replace('/', '__')}.png")
        with atomic_write(path) as temporary:
            Image.fromarray(panel).save(temporary, format="PNG")
