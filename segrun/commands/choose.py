"""`segrun choose`: one training of a choice by successive halving, whose sweeper is `hydra_plugins.segrun.halving`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segrun.commands.train import run_as_job


def run(config: Mapping[str, Any]) -> None:
    """Carry out one job; the sweeper reads its result from the folder."""
    run_as_job(config, "choose")
