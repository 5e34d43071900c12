"""A predictor out of a checkpoint."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segrun.checkpoints import checkpoint as checkpoints
from segrun.config.build import to_dataclass
from segrun.config.legacy import translate
from segrun.config.trust import locate_class
from segrun.data.dataset import Dataset
from segrun.data.read.intensity import Intensity, IntensitySettings
from segrun.device import torch_device, tune_malloc
from segrun.errors import RequestError
from segrun.experiment.checkpoint_model import inference_of
from segrun.inference.predictor import Predictor


def load_predictor(
    checkpoint: str | Path,
    device: str = "auto",
    trust: Sequence[str] = (),
    precision: str = "auto",
    tile: int | None = None,
    overlap: float | None = None,
    base: str | None = None,
) -> Predictor:
    """A predictor from a checkpoint or run folder.

    Args:
        checkpoint: A best.ckpt, or the run folder that holds it.
        device: auto, cpu or cuda.
        trust: Modules outside segrun that the checkpoint may name.
        precision: auto, fp32, bf16 or fp16.
        tile: Side of the sliding window in pixels; None: as in training.
        overlap: Share by which windows overlap; None: as in training.
        base: See `restored_model`.

    Raises:
        RequestError: The file is missing, is no segrun checkpoint, or names foreign code.
    """
    saved = checkpoints.read(checkpoint)
    run_on = torch_device(device)
    if run_on.type == "cpu":
        tune_malloc()
    inference = inference_of(saved, run_on, trust, precision, tile, overlap, base)
    settings = translate(saved.config)["dataset"]
    kind: Any = Dataset
    with contextlib.suppress(RequestError):  # a class of the user's own, which predicting does without
        kind = locate_class(settings["_target_"], "dataset", trust)
    with saved.errors_name_it():
        if not issubclass(kind, Dataset):
            raise RequestError(f"dataset._target_={settings['_target_']}: must be a Dataset.")
        intensity = settings.get("intensity")
        scaling = Intensity(to_dataclass(intensity, IntensitySettings, "dataset.intensity")) if intensity else None
        reader = kind.reader(settings, saved.weights["mean"].numel())
    turned = settings.get("exif") != "ignore"
    return Predictor(inference, saved.classes, reader, scaling, kind.sidecars, turned)
