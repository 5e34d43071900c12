"""What `segrun predict` will write for each image. What cannot be written is refused here, before work begins."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segrun.errors import RequestError
from segrun.files import refuse_link
from segrun.inference.settings import PredictSettings
from segrun.names import PATH_BYTES, shortened

OVERLAY, CONFIDENCE = "overlay", "confidence"  # subfolders of the output


@dataclass(frozen=True)
class PredictJob:
    """What to write for one image file.

    Attributes:
        source: The image.
        mask: PNG of class indices, with the classes' colours as palette.
        overlay: PNG of the image with the mask laid over it; None: not written.
        confidence: PNG of the probability of each pixel's class, from 0 to 255; None: not written.
        overwrite: Whether to replace files that exist already.
    """

    source: Path
    mask: Path
    overlay: Path | None = None
    confidence: Path | None = None
    overwrite: bool = False

    def outputs(self) -> list[Path]:
        """The files to write."""
        return [path for path in (self.mask, self.overlay, self.confidence) if path is not None]


def predict_jobs(images: Sequence[tuple[Path, Path]], output: Path, settings: PredictSettings) -> list[PredictJob]:
    """What to write for each image: photo.jpg becomes photo.png, or photo.jpg.png where photo.png is an image, too.

    Args:
        images: Each image and its path relative to the input.
        output: The folder for the masks.
        settings: What to write beside the masks.

    Raises:
        RequestError: A mask would replace one of the images or another mask, or would be written through a link.
    """
    same_stem = Counter(relative.with_suffix("") for _, relative in images)
    jobs = []
    for source, relative in images:
        unique = same_stem[relative.with_suffix("")] == 1
        name = relative.with_suffix(".png") if unique else relative.with_name(f"{relative.name}.png")
        name = _name_that_fits(name, output)
        overlay = output / OVERLAY / name if settings.overlay else None
        confidence = output / CONFIDENCE / name if settings.confidence else None
        jobs.append(PredictJob(source, output / name, overlay, confidence, settings.overwrite))
    _refuse_shared_names(jobs)
    _refuse_links(jobs, output)
    sources = {source.resolve() for source, _ in images}
    replaced = [path for job in jobs for path in job.outputs() if path.resolve() in sources]
    if replaced:
        raise RequestError(f"output={output}: {replaced[0]} is one of the images. Choose another folder for the masks.")
    return jobs


def _name_that_fits(name: Path, output: Path) -> Path:
    """The name, shortened where the file system would refuse it; beside the others where its folders are too deep."""
    name = name.with_name(shortened(name.name))
    if len(os.fsencode(output / CONFIDENCE / name)) > PATH_BYTES:
        name = Path(shortened("__".join(name.parts)))
    return name


def _refuse_shared_names(jobs: Sequence[PredictJob]) -> None:
    """Raises RequestError if a file would be written twice, or would have the name of a folder."""
    writers: dict[Path, PredictJob] = {}
    for job in jobs:
        for path in job.outputs():
            first = writers.setdefault(path, job)
            if first is not job:
                raise RequestError(
                    f"{first.source} and {job.source}: {path} would be written for both. Rename one of the images, or "
                    "predict them into two folders."
                )
    folders = {folder for path in writers for folder in path.parents}
    for path, job in writers.items():
        if path in folders:
            raise RequestError(f"{job.source}: {path} would be its mask and the folder of others. Rename the image.")


def _refuse_links(jobs: Sequence[PredictJob], output: Path) -> None:
    """Raises RequestError if a folder of the results, or a file that would be kept, is a link."""
    folders = {folder for job in jobs for path in job.outputs() for folder in path.parents}
    for folder in sorted(folders):
        if folder == output or output in folder.parents:
            refuse_link(folder)
    for job in jobs:
        for path in job.outputs():
            if path.is_symlink() and not job.overwrite:
                raise RequestError(
                    f"{path}: is a link to {path.readlink()}, not a mask. Remove it, or replace it: overwrite=true."
                )
