"""Settings of a run that are no part of the experiment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class RunSettings:
    """Keys of `segrun train` about the run itself; see conf/train.yaml.

    Attributes:
        output: Where run folders are made.
        resume: A run folder to continue.
        test: False: no image of the test split is read.
        retry: Run the failed jobs of a sweep again.
        trust: Modules outside segrun that a checkpoint's config may name.
    """

    output: str
    resume: str | None
    test: bool
    retry: bool
    trust: Sequence[str]
