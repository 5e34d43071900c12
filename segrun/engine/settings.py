"""The trainer's settings. conf/trainer/default.yaml holds the defaults and describes each setting."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge

from segrun.errors import RequestError
from segrun.ranges import DeviceName, NonNegativeFloat, OpenFraction, PositiveFloat, PositiveInt, Precision

Monitor = Literal["miou_present", "miou", "mdice", "accuracy", "loss"]


@dataclass(frozen=True)
class TrainerSettings:
    """How long, how precisely and on which device a model is trained.

    Attributes:
        epochs: Number of epochs.
        steps: Number of optimizer steps of the whole run; None: an epoch is one pass over the training images.
        batch_size: Images per batch, over all processes.
        accumulate: Batches per optimizer step.
        clip: Largest norm of the gradient; None: gradients are not clipped.
        precision: Precision of the forward pass.
        device: Where the model is trained.
        channels_last: Memory format; see `segrun.device.memory_layout`.
        compile: Whether to use `torch.compile`.
        workers: Loader processes; see `segrun.device.loader_workers`.
        timeout: Seconds after which a loader process, or another process of the training, counts as hanging.
        cache: GiB of decoded training images that are kept in memory.
        deterministic: Whether to refuse operations whose results differ between runs.
        monitor: The score on val that selects the best epoch.
        eval_every: Epochs between two evaluations on val.
        patience: Evaluations without a better score after which the last phase ends; None: it never ends early.
        ema: Decay of the moving average of the weights, which is then evaluated and kept; None: no average.
        decay_1d: Whether biases, norm parameters and other one-dimensional parameters have weight decay.
        save: What best.ckpt holds: all weights, or only those that differ from the pretrained ones.
        cka: Whether to compare the feature maps with those of the start after training.
    """

    epochs: PositiveInt
    steps: PositiveInt | None
    batch_size: PositiveInt
    accumulate: PositiveInt
    clip: PositiveFloat | None
    precision: Precision
    device: DeviceName
    channels_last: bool | Literal["auto"]
    compile: bool
    workers: Annotated[int, Ge(-1)]
    timeout: PositiveFloat
    cache: NonNegativeFloat
    deterministic: bool
    monitor: Monitor
    eval_every: PositiveInt
    patience: PositiveInt | None
    ema: OpenFraction | None
    decay_1d: bool
    save: Literal["full", "delta"]
    cka: bool

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < self.epochs:
            raise RequestError(
                f"trainer.steps={self.steps}: fewer than trainer.epochs={self.epochs}. Each epoch needs at least one "
                "step: use more steps or fewer epochs."
            )

    def steps_per_epoch(self, images: int) -> list[int]:
        """Number of optimizer steps of each epoch.

        Args:
            images: Number of training images.

        Returns:
            `epochs` numbers: the full batches that are nearest to one pass over the images, or `steps` divided evenly.
        """
        if self.steps is None:
            images_per_step = self.batch_size * self.accumulate
            return [max(1, round(images / images_per_step))] * self.epochs
        ends = [self.steps * epoch // self.epochs for epoch in range(self.epochs + 1)]
        return [end - start for start, end in itertools.pairwise(ends)]
