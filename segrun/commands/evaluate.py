"""`segrun eval`: the scores of a checkpoint on a split."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segrun.checkpoints import checkpoint as checkpoints
from segrun.checkpoints.checkpoint import Checkpoint
from segrun.config.build import to_dataclass
from segrun.config.compose import Config, to_dict
from segrun.data.dataset import Dataset
from segrun.device import accelerator
from segrun.engine.settings import InferenceSettings
from segrun.errors import RequestError, join_names
from segrun.experiment import assemble, networks
from segrun.files import create_dir, write_json
from segrun.inference.evaluation import evaluate
from segrun.report.plots import run as plots
from segrun.report.tables import class_table, confusion_table, percent
from segrun.report.terminal import console, counting, print_line


@dataclass(frozen=True)
class EvalResult:
    """folder: with result.json, scores.csv and plots; scores: as in result.json."""

    folder: Path
    scores: dict[str, Any]


def run(cfg: Config) -> EvalResult:
    values = to_dict(cfg)
    saved = checkpoints.read(values["checkpoint"])
    data = data_for(values, saved)
    split = values["split"] if data.splits else "all"
    data.use(data.splits or {"all": data.names})
    if not data.splits.get(split):
        raise RequestError(
            f"split={split}: this data set has {join_names(s for s, names in data.splits.items() if names)}."
        )
    to_dataclass(values, InferenceSettings, "")
    device = accelerator(values["device"], values["precision"])
    inference = networks.inference(saved, device.device, values["trust"], values)
    names = data.splits[split]
    for note in data.notes:
        console().print(f"data: {note}", highlight=False, markup=False)
    with counting(f"scoring {split}", len(names)) as advance:
        found = evaluate(inference, data, names, device, batch_size=values["batch_size"], advance=advance)
    summary = found.scores.summary()
    base = (
        Path(values["output"]).expanduser()
        / "eval"
        / time.strftime("%Y-%m-%d")
        / f"{time.strftime('%H-%M-%S')}_{split}"
    )
    if device.is_main_process:
        base = create_dir(base)
        found.write_csv(base / "scores.csv")
        write_json(base / "result.json", {"checkpoint": str(values["checkpoint"]), "split": split, split: summary})
        plots.confusion(found.scores, base / "confusion.png", split)
        out = console()
        out.print(class_table(found.scores, f"{split} split, {len(names)} images, weights of epoch {saved.epoch}"))
        if len(found.scores.classes) <= 12:
            out.print(confusion_table(found.scores))
        out.print(
            f"mIoU {percent(found.scores.miou)}  pixel accuracy {percent(found.scores.accuracy)}", highlight=False
        )
        print_line(f"result folder: {base}")
    device.wait_for_everyone()
    return EvalResult(base, summary)


def data_for(values: dict[str, Any], saved: Checkpoint) -> Dataset:
    """The run's own data at its stored split, or the data set asked for.

    Raises:
        RequestError: its classes are not the checkpoint's; the difference is named.
    """
    if values.get("dataset") is None:
        data = assemble.dataset(saved.config, values["trust"])
        data.use(saved.splits)
        return data
    channels = saved.weights["mean"].numel()
    keys = [word.partition("=")[0].lstrip("+") for word in values["asked"]]
    if "channels" in values["dataset"] and "dataset.channels" not in keys:
        values = {**values, "dataset": {**values["dataset"], "channels": channels}}
    values = {**values, "dataset": scaled_alike(values["dataset"], saved.config["dataset"], keys)}
    data = assemble.dataset(values)
    if data.channels != channels:
        raise RequestError(f"the checkpoint is for images of {channels} channels, the data set's have {data.channels}.")
    placed = ("root", "classes", "masks", "ignore_index", "allow_unpaired", "channels", "voc", "download")
    moved = all(key.removeprefix("dataset.") in placed for key in keys if key.startswith("dataset."))
    if moved and {name for names in saved.splits.values() for name in names} <= set(data.names):
        data.use(saved.splits)  # the same data at another place
        data.notes = [*data.notes, "holds the images of the run's stored split, which is used"]
    ours, theirs = saved.classes.names, data.classes.names
    if ours != theirs:
        missing, new = [n for n in ours if n not in theirs], [n for n in theirs if n not in ours]
        words = [f"the data lacks {join_names(missing)}"] * bool(missing) + [f"the checkpoint lacks {join_names(new)}"] * bool(
            new
        )
        raise RequestError(
            f"the checkpoint has {len(ours)} classes, the data set {len(theirs)}: "
            f"{'; '.join(words) or 'the same ones in another order'}. Give dataset.classes in the checkpoint's order."
        )
    return data


def scaled_alike(asked: Mapping[str, Any], trained: Mapping[str, Any], keys: Sequence[str]) -> Mapping[str, Any]:
    """The data set asked for, with the intensity of the checkpoint's; keys: what the user gave outright.

    Raises:
        RequestError: only one of them has an intensity, or one would be measured that is the training's.
    """
    own = any(key.startswith("dataset.intensity") for key in keys)
    if trained.get("intensity") and "intensity" not in asked:
        raise RequestError(
            "the checkpoint was trained on raw values that dataset.intensity scales; this data set has no intensity."
        )
    if "intensity" in asked and not own:
        asked = {**asked, "intensity": trained.get("intensity") or asked["intensity"]}
    if (asked.get("intensity") or {}).get("scale") == "dataset":
        raise RequestError(
            "dataset.intensity.scale=dataset: is measured on training images, and this checkpoint holds no such "
            "numbers. Give dataset.intensity.scale=fixed or image, with low and high."
        )
    return asked
