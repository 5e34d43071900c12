"""segrun: choose and do the transfer of pretrained weights in image segmentation.

import segrun
result = segrun.train(["strategy=finetune", "trainer.epochs=5"])
predict = segrun.load(result.checkpoint)
mask = predict(PIL.Image.open("photo.jpg"))      # (H, W) array of class indices
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch is imported by the call, not by `import segrun`
    from segrun.commands.train import TrainResult
    from segrun.inference.predictor import Predictor

__version__ = "0.1.0"
__all__ = ["load", "train"]


def train(overrides: Sequence[str] = ()) -> TrainResult:
    """Train as `segrun train <overrides>` does; returns the run's folder, checkpoint and scores.

    Raises:
        segrun.errors.SegrunError: what the command line would have printed; or words that ask for many trainings.
    """
    from segrun.commands import train as command
    from segrun.config.compose import compose

    result = command.run(compose("train", overrides, single=True))
    assert isinstance(result, command.TrainResult)
    return result


def load(checkpoint: str | Path, device: str = "auto", trust: Sequence[str] = ()) -> Predictor:
    """A predictor from a checkpoint: call it with a PIL image or an array (H, W[, 3]).

    It returns a uint8 array (H, W) of class indices of the image's own size;
    `.classes` names them. `trust` lists the modules outside segrun that the checkpoint may name.

    Raises:
        segrun.errors.RequestError: the file is missing, is no segrun checkpoint, or names foreign code.
    """
    from segrun.commands.predict import predictor

    return predictor(checkpoint, device=device, trust=trust)
