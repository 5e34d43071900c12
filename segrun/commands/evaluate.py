"""`segrun eval`: the scores of a checkpoint on a split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segrun.checkpoints import checkpoint as checkpoints
from segrun.config.build import to_dataclass
from segrun.device import make_accelerator
from segrun.engine.failures import explained_memory
from segrun.errors import RequestError, join_names
from segrun.experiment.checkpoint_model import inference_of
from segrun.experiment.evaluation_data import evaluation_data
from segrun.files import check_writable, create_dir, timestamped_path, write_json
from segrun.inference.evaluation import Evaluation, evaluate
from segrun.inference.settings import InferenceSettings
from segrun.metrics import Scores
from segrun.report.formats import percent
from segrun.report.plots.run import save_confusion
from segrun.report.score_tables import class_table, confusion_table
from segrun.report.terminal import console, print_line, progress_bar

MATRIX = 12  # classes up to which the confusion matrix is printed


@dataclass(frozen=True)
class EvalSettings(InferenceSettings):
    """Keys of `segrun eval`; see conf/eval.yaml."""

    checkpoint: str
    split: str
    base: str | None
    trust: Sequence[str]
    output: str


@dataclass(frozen=True)
class EvalResult:
    """Scores of a checkpoint.

    Attributes:
        folder: Holds result.json, scores.csv and confusion.png.
        scores: As in result.json.
    """

    folder: Path
    scores: dict[str, Any]


def run(config: Mapping[str, Any]) -> EvalResult:
    """Score the checkpoint, print the tables and write them down.

    Raises:
        RequestError: The checkpoint, the data or the split is not what the request says.
        DataError: Files are damaged.
    """
    settings = to_dataclass(config, EvalSettings, "")
    check_writable(Path(settings.output).expanduser())
    checkpoint = checkpoints.read(settings.checkpoint)
    data = evaluation_data(config, checkpoint, settings.trust)
    split = "all" if "all" in data.splits else settings.split
    names = data.splits.get(split)
    if not names:
        available = join_names(split for split, members in data.splits.items() if members)
        raise RequestError(f"split={split}: this data set has {available}.")
    accelerator = make_accelerator(settings.device, settings.precision)
    inference = inference_of(
        checkpoint,
        accelerator.device,
        settings.trust,
        settings.precision,
        settings.tile,
        settings.overlap,
        settings.base,
    )
    whole = f"it has no splits, so that all {len(names)} images are scored"
    for note in [*data.notes, *([whole] if split == "all" else [])]:
        print_line(f"data: {note}")
    with explained_memory(settings.batch_size), progress_bar(f"scoring {split}", len(names)) as advance:
        evaluation = evaluate(
            inference, data.dataset, names, accelerator, batch_size=settings.batch_size, advance=advance
        )
    folder = timestamped_path(settings.output, "eval", split)
    if accelerator.is_main_process:
        folder = create_dir(folder)
        _write(folder, settings.checkpoint, split, evaluation)
        title = f"{split} split, {len(names)} images, weights of epoch {checkpoint.epoch}"
        _print(evaluation.scores, title, folder)
    accelerator.wait_for_everyone()
    return EvalResult(folder, evaluation.scores.summary())


def _write(folder: Path, checkpoint: str, split: str, evaluation: Evaluation) -> None:
    evaluation.write_csv(folder / "scores.csv")
    content = {"checkpoint": checkpoint, "split": split, split: evaluation.scores.summary()}
    write_json(folder / "result.json", content)
    save_confusion(evaluation.scores, folder / "confusion.png", split)


def _print(scores: Scores, title: str, folder: Path) -> None:
    console().print(class_table(scores, title))
    if len(scores.classes) <= MATRIX:
        console().print(confusion_table(scores))
    print_line(f"mIoU {percent(scores.miou)}  pixel accuracy {percent(scores.accuracy)}")
    print_line(f"result folder: {folder}")
