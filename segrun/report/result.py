"""The result of a training in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segrun.metrics import Scores
from segrun.report.formats import percent
from segrun.report.score_tables import class_table
from segrun.report.terminal import console, print_line


def print_result(
    scores: Scores,
    split: str,
    summaries: Mapping[str, Any],
    cost: Mapping[str, Any],
    drift: Mapping[str, float],
    folder: Path,
    best_epoch: int,
) -> None:
    """Print the scores, what the training cost, where its files are, and the command to run next.

    Args:
        scores: Scores on the last scored split.
        split: Name of that split.
        summaries: The scores of each split as in result.json.
        cost: As in result.json.
        drift: Relative distance of each part from its start.
        folder: The run folder.
        best_epoch: The epoch whose weights are scored.
    """
    console().print(class_table(scores, f"{split} split, best epoch {best_epoch} (chosen on val)"))
    mious = "  ".join(f"{name} mIoU {percent(summary['miou'])}" for name, summary in summaries.items())
    print_line(f"{mious}  {split} pixel accuracy {percent(scores.accuracy)}")
    print_line(_cost_line(cost))
    distances = "  ".join(f"{part.removeprefix('backbone.')} {distance:.1%}" for part, distance in drift.items())
    print_line(f"drift from the start: {distances}")
    print_line(f"run folder: {folder}")
    checkpoint = f"{folder}/best.ckpt"
    quoted = f"'{checkpoint}'" if " " in checkpoint else checkpoint
    print_line(f"next: segrun predict checkpoint={quoted} input=<photos> output=<masks>")


def _cost_line(cost: Mapping[str, Any]) -> str:
    trained, total = cost["parameters_trained"], cost["parameters_total"]
    line = (
        f"cost: {trained:,} of {total:,} parameters trained ({trained / total:.0%}), {cost['seconds']:.0f} s, "
        f"{cost['seconds_per_step']:.2f} s per step, {cost['images_per_second']:.1f} images/s, "
        f"checkpoint {cost['checkpoint_bytes'] / 1e6:.1f} MB"
    )
    if cost["peak_memory_bytes"]:
        line += f", peak memory {cost['peak_memory_bytes'] / 2**30:.1f} GiB"
    return line
