"""What is only tuned: the trainer's settings, checked by OmegaConf. conf/trainer holds the defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Union

from segrun.errors import RequestError, join_names

MONITORS = ("miou_present", "miou", "mdice", "accuracy", "loss")


SAVES = ("full", "delta")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


@dataclass
class InferenceSettings:
    """How eval and predict go through images; conf/eval.yaml and conf/predict.yaml say what each means."""

    batch_size: int
    device: str
    precision: str
    tile: Optional[int]  # noqa: UP045
    overlap: Optional[float]  # noqa: UP045

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise RequestError(f"batch_size={self.batch_size}: at least 1.")
        if self.precision not in PRECISIONS:
            raise RequestError(f"precision={self.precision}: choose {join_names(PRECISIONS)}.")


@dataclass
class PredictSettings(InferenceSettings):
    """What predict writes besides the masks, and whether it may replace what is there."""

    overlay: bool
    confidence: bool
    overwrite: bool


@dataclass
class TrainerSettings:
    """conf/trainer/default.yaml says what each means."""

    epochs: int
    steps: Optional[int]  # noqa: UP045 – OmegaConf reads the annotation
    batch_size: int
    accumulate: int
    clip: Optional[float]  # noqa: UP045
    precision: str
    device: str
    channels_last: Union[bool, str]  # noqa: UP007
    compile: bool
    workers: int
    cache: float
    deterministic: bool
    monitor: str
    eval_every: int
    patience: Optional[int]  # noqa: UP045
    ema: Optional[float]  # noqa: UP045
    decay_1d: bool
    save: str
    cka: bool

    def __post_init__(self) -> None:
        for key in ("epochs", "batch_size", "accumulate", "eval_every"):
            if getattr(self, key) < 1:
                raise RequestError(f"trainer.{key}={getattr(self, key)}: at least 1.")
        if self.steps is not None and self.steps < self.epochs:
            raise RequestError(f"trainer.steps={self.steps}: at least one an epoch, of which there are {self.epochs}.")
        if self.save not in SAVES:
            raise RequestError(f"trainer.save={self.save}: choose {join_names(SAVES)}.")
        if self.monitor not in MONITORS:
            raise RequestError(f"trainer.monitor={self.monitor}: choose one of {', '.join(MONITORS)}.")
        if self.precision not in PRECISIONS:
            raise RequestError(f"trainer.precision={self.precision}: choose {join_names(PRECISIONS)}.")
        if self.channels_last not in (True, False, "auto"):
            raise RequestError(f"trainer.channels_last={self.channels_last}: choose auto, true or false.")
        if self.ema is not None and not 0 < self.ema < 1:
            raise RequestError(f"trainer.ema={self.ema}: between 0 and 1, such as 0.99.")
        if self.clip is not None and self.clip <= 0:
            raise RequestError(f"trainer.clip={self.clip}: above 0, or null.")
        if self.cache < 0:
            raise RequestError(f"trainer.cache={self.cache}: GiB, 0 or more.")
        if self.patience is not None and self.patience < 1:
            raise RequestError(f"trainer.patience={self.patience}: at least 1, or null.")

    def steps_per_epoch(self, images: int) -> list[int]:
        """Optimizer steps of each epoch: one pass in full batches, or the total parted evenly."""
        if self.steps is None:
            return [max(1, round(images / (self.batch_size * self.accumulate)))] * self.epochs
        ends = [self.steps * (epoch + 1) // self.epochs for epoch in range(self.epochs)]
        return [end - start for start, end in zip([0, *ends], ends, strict=False)]
