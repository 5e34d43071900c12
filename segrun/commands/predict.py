"""`segrun predict`: masks for an image, a folder or a glob."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from segrun.config.build import to_dataclass
from segrun.data.read.images import image_suffixes
from segrun.data.sets.files import all_files
from segrun.engine.failures import explained_memory
from segrun.engine.signals import StopSignal
from segrun.errors import Interrupted, RequestError, join_names
from segrun.experiment.predictor import load_predictor
from segrun.files import check_writable, ensure_dir, write_json
from segrun.inference.predict_files import predict_files, write_summary
from segrun.inference.predict_jobs import PredictJob, predict_jobs
from segrun.inference.predictor import Predictor
from segrun.inference.settings import PredictSettings
from segrun.report.terminal import print_line, progress_bar
from segrun.schema import read_json

CLAIM = "predict.json"  # in an output folder, it names the model whose masks these are


class Claim(TypedDict):
    """Content of predict.json."""

    model: str


@dataclass(frozen=True)
class PredictRequest(PredictSettings):
    """Keys of `segrun predict`; see conf/predict.yaml."""

    checkpoint: str
    input: str
    output: str
    base: str | None
    trust: Sequence[str]


@dataclass(frozen=True)
class PredictResult:
    """How many masks were written or kept, and why others were not."""

    written: int
    kept: int
    failed: tuple[str, ...]

    @property
    def status(self) -> int:
        """The exit status."""
        return 1 if self.failed else 0


def run(config: Mapping[str, Any]) -> PredictResult:
    """Predict every image of the input.

    Raises:
        RequestError: The checkpoint, the input or the output cannot be used.
        Interrupted: By Ctrl-C or SIGTERM; the same command continues.
    """
    request = to_dataclass(config, PredictRequest, "")
    output = Path(request.output).expanduser()
    images = find_images(request.input, output)
    jobs = predict_jobs(images, output, request)
    check_writable(output)
    predictor = load_predictor(
        request.checkpoint,
        request.device,
        request.trust,
        request.precision,
        request.tile,
        request.overlap,
        request.base,
    )
    claim_output_dir(ensure_dir(output), predictor, jobs, request.overwrite)
    renamed = [job.mask for job, (_, name) in zip(jobs, images, strict=True) if not job.mask.stem.startswith(name.stem)]
    if renamed:
        print_line(f"{len(renamed)} names are too long for this system and were shortened: {join_names(renamed, 1)}")
    remaining = [job for job in jobs if request.overwrite or not all(path.is_file() for path in job.outputs())]
    failed: list[str] = []
    written = 0
    try:
        bar = progress_bar("predicting", len(remaining))
        with explained_memory(request.batch_size), StopSignal() as stop, bar as advance:
            for _, problem in predict_files(predictor, remaining, request.batch_size, lambda: stop.requested):
                advance(1)
                if problem is None:
                    written += 1
                else:
                    failed.append(problem)
    except KeyboardInterrupt:
        message = f"Interrupted after {written} of {len(remaining)} images. The same command continues."
        raise Interrupted(message) from None
    finally:
        failed += write_summary(output / "summary.csv", jobs, predictor.classes)
    result = PredictResult(written, len(jobs) - len(remaining), tuple(failed))
    print_result(result, output)
    return result


def find_images(wanted: str, output: Path) -> list[tuple[Path, Path]]:
    """Each image and its path relative to the input, without what lies in `output`.

    Args:
        wanted: A file, a folder or a glob.
        output: The folder for the masks.

    Raises:
        RequestError: There is no image, or the output folder is the input folder.
    """
    path = Path(wanted).expanduser()
    if path.is_dir():
        if path.resolve() == output.resolve():
            raise RequestError(f"output={output}: is the input folder. Choose another one for the masks.")
        files, base = all_files(path), path
    elif path.is_file():
        files, base = [path], path.parent
    else:
        files = sorted(Path(name) for name in glob.glob(str(path), recursive=True))  # noqa: PTH207 – absolute patterns, too
        base = _fixed_part(path)
        files = [file for file in files if not _is_reached_again(file, base)]
    # masks of an earlier run are not images to predict
    inside = output.resolve() if base.resolve() in output.resolve().parents else None
    images = [file for file in files if _is_image(file) and inside not in file.resolve().parents]
    if not images:
        raise RequestError(f"input={wanted}: no image there (a file, a folder or a glob).")
    return [(file, file.relative_to(base)) for file in images]


def claim_output_dir(output: Path, predictor: Predictor, jobs: Sequence[PredictJob], overwrite: bool) -> None:
    """Note in the folder whose masks it holds: one folder holds the masks of one model.

    Raises:
        RequestError: It holds another model's masks, or files of other origin, and `overwrite` is not given.
    """
    claim = {"model": _model_hash(predictor), "classes": list(predictor.classes.names)}
    path = output / CLAIM
    if path.is_file() and not overwrite:
        cure = "Remove it if the masks are of this checkpoint, or write them again: overwrite=true."
        if read_json(path, Claim, cure)["model"] != claim["model"]:
            raise RequestError(
                f"{output}: holds masks of another checkpoint. Choose another output, or overwrite=true."
            )
    elif not overwrite:
        foreign = [file for job in jobs for file in job.outputs() if file.exists()]
        if foreign:
            raise RequestError(
                f"{output}: holds {join_names(foreign, 2)}, not written by segrun. "
                "Choose another output, or overwrite=true."
            )
    write_json(path, claim)


def print_result(result: PredictResult, output: Path) -> None:
    kept = f", {result.kept} existed already (overwrite=true writes them again)" if result.kept else ""
    print_line(f"{result.written} masks written to {output}{kept}")
    for problem in result.failed:
        print_line(f"failed: {problem}", "red")


def _fixed_part(pattern: Path) -> Path:
    """The part of a glob before its first wildcard, without the file's name."""
    for index, part in enumerate(pattern.parts):
        if glob.has_magic(part):
            return Path(*pattern.parts[:index])
    return pattern


def _is_reached_again(file: Path, base: Path) -> bool:
    """Whether a link on the way from `base` leads back to a folder above it: a glob follows it over and over."""
    folders = [folder.resolve() for folder in file.parents if folder.is_relative_to(base)]
    return len(set(folders)) < len(folders)


def _is_image(file: Path) -> bool:
    if file.suffix.lower() not in image_suffixes() or file.name.startswith("."):
        return False
    try:
        return file.is_file()
    except OSError:  # its path is too long, for example: it is predicted like the others, and fails by name
        return True


def _model_hash(predictor: Predictor) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(predictor.inference.model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
