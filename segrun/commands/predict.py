"""`segrun predict`: masks for an image, a folder or a glob."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from segrun.checkpoints import checkpoint as checkpoints
from segrun.config.build import locate, to_dataclass
from segrun.config.compose import Config, to_dict
from segrun.data.dataset import Dataset
from segrun.data.read.intensity import Intensity
from segrun.device import torch_device, tune_malloc
from segrun.engine.settings import PredictSettings
from segrun.engine.signals import Stop
from segrun.errors import Interrupted, RequestError, join_names
from segrun.experiment import networks
from segrun.files import ensure_dir, write_json
from segrun.inference.predictor import PredictJob, Predictor, predict_files, write_summary
from segrun.report.terminal import counting, print_line

NOTE = "predict.json"


@dataclass(frozen=True)
class Predicted:
    """How many masks were written, were there before, and which files could not be read."""

    written: int
    kept: int
    unreadable: tuple[str, ...]

    @property
    def status(self) -> int:
        return 1 if self.unreadable else 0


def run(cfg: Config) -> Predicted:
    values = to_dict(cfg)
    settings = to_dataclass(values, PredictSettings, "")
    found = find(values["input"], Path(values["output"]).expanduser())
    predict = predictor(values["checkpoint"], values["device"], values["trust"], values)
    output = ensure_dir(Path(values["output"]).expanduser())
    jobs = wanted(found, output, settings)
    claim_output_dir(output, predict, jobs, settings.overwrite)
    todo = [job for job in jobs if settings.overwrite or not all(path.is_file() for path in job.outputs())]
    unreadable: list[str] = []
    written = 0
    try:
        with Stop() as stop, counting("predicting", len(todo)) as advance:
            for _, problem in predict_files(predict, todo, values["batch_size"], lambda: stop.asked):
                advance(1)
                if problem is None:
                    written += 1
                else:
                    unreadable.append(problem)
    finally:
        write_summary(output / "summary.csv", jobs, predict.classes)
    if stop.asked:
        raise Interrupted(f"Interrupted after {written} of {len(todo)} images. The same command goes on.")
    return print_result(Predicted(written, len(jobs) - len(todo), tuple(unreadable)), output)


def predictor(
    path: str | Path, device: str = "auto", trust: Sequence[str] = (), options: Mapping[str, Any] | None = None
) -> Predictor:
    """A predictor from a checkpoint or run folder; `options` may hold precision, tile and overlap."""
    saved = checkpoints.read(path)
    place = torch_device(device)
    if place.type == "cpu":
        tune_malloc()
    inference, data = networks.inference(saved, place, trust, options or {}), saved.config["dataset"]
    kind: Any = Dataset
    with contextlib.suppress(RequestError):  # a class of the user's own, which predicting does without
        kind = locate(data["_target_"], "dataset", trust)
    intensity = Intensity(**data["intensity"]) if data.get("intensity") else None
    return Predictor(
        inference, saved.classes, kind.reader(data, saved.weights["mean"].numel()), intensity, kind.sidecars
    )


def find(wanted: str, output: Path) -> list[tuple[Path, Path]]:
    """(file, its path relative to the input) for a file, a folder or a glob, without what lies in `output`.

    Raises:
        RequestError: nothing there, or the output folder is the input folder.
    """
    path = Path(wanted).expanduser()
    if path.is_dir():
        if path.resolve() == output.resolve():
            raise RequestError(f"output={output}: is the input folder. Choose another one for the masks.")
        files, base = sorted(path.rglob("*")), path
    elif path.is_file():
        files, base = [path], path.parent
    else:
        files = sorted(Path(name) for name in glob.glob(str(path), recursive=True))  # noqa: PTH207 – absolute patterns, too
        fixed = [part for part in path.parts if not glob.has_magic(part)]
        base = Path(*path.parts[: next((i for i, p in enumerate(path.parts) if glob.has_magic(p)), len(fixed))])
    readable = Image.registered_extensions()
    inside = output.resolve() if base.resolve() in output.resolve().parents else None  # an earlier run's masks
    images = [
        file
        for file in files
        if file.is_file() and file.suffix.lower() in readable and not file.name.startswith(".")
        and inside not in file.resolve().parents
    ]  # fmt: skip
    if not images:
        raise RequestError(f"input={wanted}: no image there (a file, a folder or a glob).")
    return [(file, file.relative_to(base)) for file in images]


def wanted(found: Sequence[tuple[Path, Path]], output: Path, settings: PredictSettings) -> list[PredictJob]:
    """photo.jpg becomes photo.png; where photo.png lies beside it, they become photo.jpg.png and photo.png.png."""
    alike = Counter(relative.with_suffix("") for _, relative in found)
    jobs = []
    for source, relative in found:
        alone = alike[relative.with_suffix("")] == 1
        name = relative.with_suffix(".png") if alone else relative.with_name(f"{relative.name}.png")
        overlay = output / "overlay" / name if settings.overlay else None
        confidence = output / "confidence" / name if settings.confidence else None
        jobs.append(PredictJob(source, output / name, overlay, confidence, settings.overwrite))
    sources = {source.resolve() for source, _ in found}
    if own := [path for job in jobs for path in job.outputs() if path.resolve() in sources]:
        raise RequestError(f"output={output}: {own[0]} is one of the images. Choose another folder for the masks.")
    return jobs


def claim_output_dir(output: Path, predict: Predictor, jobs: Sequence[PredictJob], overwrite: bool) -> None:
    """One folder holds the masks of one model.

    Raises:
        RequestError: it holds another model's, or files of other origin, and `overwrite` is not asked for.
    """
    digest = hashlib.sha256()
    for name, value in sorted(predict.inference.model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    note = {"model": digest.hexdigest()[:16], "classes": list(predict.classes.names)}
    path = output / NOTE
    if path.is_file() and not overwrite:
        before = json.loads(path.read_text(encoding="utf-8"))
        if before.get("model") != note["model"]:
            raise RequestError(
                f"{output}: holds masks of another checkpoint. Choose another output, or overwrite=true."
            )
    elif not overwrite and (there := [path for job in jobs for path in job.outputs() if path.exists()]):
        raise RequestError(
            f"{output}: holds {join_names(there, 2)}, not written by segrun. Choose another output, or overwrite=true."
        )
    write_json(path, note)


def print_result(result: Predicted, output: Path) -> Predicted:
    kept = f", {result.kept} were there before (overwrite=true makes them anew)" if result.kept else ""
    print_line(f"{result.written} masks written to {output}{kept}")
    for problem in result.unreadable:
        print_line(f"not read: {problem}", "red")
    return result
