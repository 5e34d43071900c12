"""Pictures of a run: curves, confusion matrix, bars a class, images with truth and prediction."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from segrun.data.dataset import Dataset
from segrun.files import atomic_write
from segrun.inference.inference import Inference
from segrun.metrics import Scores
from segrun.report.html.page import new_figure
from segrun.types import VOID, ClassMap, for_the_eye

SAMPLES = 6
LARGEST = 24.0  # inches: with a hundred classes a matrix would take gigabytes to draw
VOID_COLOUR = (255, 255, 255)


def curves(metrics: Path, path: Path) -> None:
    """Training loss, val loss and val mIoU over the epochs, and where there are several tasks each one's own loss and
    weight; phases are parted by lines."""
    rows = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    several = [name for name in ("losses", "weights") if len(rows[-1].get(name, ())) > 1]
    figure = new_figure(4.5 * (2 + len(several)), 3.4)
    left, right, *more = figure.subplots(1, 2 + len(several))
    looked = [row for row in rows if "val" in row]
    left.plot([r["epoch"] for r in rows], [r["loss"] for r in rows], label="train")
    left.plot([r["epoch"] for r in looked], [r["val"]["loss"] for r in looked], label="val")
    left.set(xlabel="epoch", ylabel="loss")
    left.legend()
    right.plot([r["epoch"] for r in looked], [100 * (r["val"]["miou"] or 0) for r in looked], color="tab:green")
    right.set(xlabel="epoch", ylabel="val mIoU in %")
    for axes, key in zip(more, several, strict=True):
        for name in rows[-1][key]:
            axes.plot(
                [r["epoch"] for r in rows if name in r[key]], [r[key][name] for r in rows if name in r[key]], label=name
            )
        axes.set(xlabel="epoch", ylabel={"losses": "loss of each, unweighted", "weights": "weight in the sum"}[key])
        axes.legend()
    for before, row in itertools.pairwise(rows):
        if before["phase"] != row["phase"]:
            for axes in (left, right, *more):
                axes.axvline(before["epoch"] + 0.5, color="grey", linestyle=":")
    _save(figure, path)


def confusion(scores: Scores, path: Path, split: str) -> None:
    """Truth by row, prediction by column, shares of the row in percent."""
    counts = scores.matrix.double()
    share = (100 * counts / counts.sum(1, keepdim=True).clamp(min=1)).numpy()
    size = min(max(4.0, 0.5 * len(share) + 2), LARGEST)
    font = min(10.0, 0.8 * 72 * (size - 2) / len(share))  # lines of a class's height, in points
    figure = new_figure(size, size)
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
    axes.set_xticks(range(len(share)), scores.classes, rotation=90, fontsize=font)
    axes.set_yticks(range(len(share)), scores.classes, fontsize=font)
    axes.set(xlabel="prediction", ylabel="truth", title=f"{split}: % of each true class")
    if len(share) <= 30:
        for i, j in np.ndindex(share.shape):
            if share[i, j] >= 0.5:
                axes.text(
                    j,
                    i,
                    f"{share[i, j]:.0f}",
                    ha="center",
                    va="center",
                    fontsize=8,
                    color="white" if share[i, j] > 60 else "black",
                )
    _save(figure, path)


def class_bars(scores: Scores, path: Path, split: str) -> None:
    """IoU of each class."""
    figure = new_figure(7, 0.32 * len(scores.classes) + 1.4)
    axes = figure.subplots()
    values = [100 * v if v == v else 0.0 for v in scores.iou.tolist()]
    axes.barh(range(len(values)), values, color="tab:blue")
    axes.set_yticks(range(len(values)), scores.classes)
    axes.invert_yaxis()
    axes.set(xlim=(0, 100), xlabel=f"{split} IoU in % (mean {100 * scores.miou:.1f})")
    _save(figure, path)


def samples(data: Dataset, names: Sequence[str], inference: Inference, folder: Path) -> None:
    """Image, truth and prediction side by side, of the same few images in every run on this data."""
    folder.mkdir(exist_ok=True)
    inference.model.eval()
    for place in sorted({round(i * (len(names) - 1) / max(1, SAMPLES - 1)) for i in range(SAMPLES)}):
        sample = data.sample(names[place])
        guess = inference.logits(sample.image[None]).argmax(1)[0].byte().cpu()
        panel = np.concatenate(
            [for_the_eye(sample.image), coloured(sample.mask, data.classes), coloured(guess, data.classes)], axis=1
        )
        path = folder / f"{names[place].replace('/', '__')}.png"
        with atomic_write(path) as part:
            Image.fromarray(panel).save(part, format="PNG")


def coloured(mask: Tensor, classes: ClassMap) -> NDArray[np.uint8]:
    """(H, W) indices → (H, W, 3) in the classes' colours, void white."""
    table = np.full((VOID + 1, 3), VOID_COLOUR, np.uint8)
    table[: len(classes)] = classes.palette
    return np.asarray(table[mask.numpy()])


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    with atomic_write(path) as part:
        figure.savefig(part, format="png", dpi=110)
