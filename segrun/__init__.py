"""segrun: choose and carry out the transfer of pretrained weights in image segmentation.

Example:
    >>> import segrun
    >>> result = segrun.train(["strategy=finetune", "trainer.epochs=5"])
    >>> predictor = segrun.load(result.checkpoint)
    >>> mask = predictor(PIL.Image.open("photo.jpg"))  # (H, W) array of class indices
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch is imported by the call, not by `import segrun`
    from segrun.commands.train import TrainResult
    from segrun.inference.predictor import Predictor

__all__ = ["load", "train"]


def train(overrides: Sequence[str] = ()) -> TrainResult:
    """Train as `segrun train <overrides>` does.

    Args:
        overrides: Words of the command line, such as "strategy=finetune".

    Returns:
        The run's folder, checkpoint and scores.

    Raises:
        segrun.errors.SegrunError: What the command line would have printed, or words that ask for several trainings.
    """
    from segrun.commands import train as command
    from segrun.config.compose import compose

    result = command.run(compose("train", overrides, single=True))
    if result is None:
        raise RuntimeError("segrun.train was called inside a sweep")
    return result


def load(checkpoint: str | Path, device: str = "auto", trust: Sequence[str] = (), base: str | None = None) -> Predictor:
    """A predictor from a checkpoint.

    Args:
        checkpoint: A best.ckpt, or the run folder that holds it.
        device: auto, cpu or cuda.
        trust: Modules outside segrun that the checkpoint may name.
        base: The weights that a delta checkpoint (trainer.save=delta) was trained from, unless they are published ones:
            a weights file, a run folder or a checkpoint.

    Returns:
        Call it with a PIL image or an array (H, W[, C]); it returns a uint8 array (H, W) of class indices at the
        image's own size. `classes` names them.

    Raises:
        segrun.errors.RequestError: The file is missing, is no segrun checkpoint, or names foreign code.
    """
    from segrun.experiment.predictor import load_predictor

    return load_predictor(checkpoint, device, trust, base=base)
