"""Data sets whose masks are drawn from annotations: polygons, run lengths."""

from __future__ import annotations

import json
import os
import reprlib
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segrun.data.dataset import Dataset
from segrun.data.read.images import image_suffixes, read_image
from segrun.data.sets.classes import read_classes
from segrun.data.sets.files import visible_files
from segrun.errors import DataError, UnreadableError
from segrun.types import VOID, Sample

Mask = NDArray[np.uint8]  # (H, W) class indices and VOID
WORDS = {
    dict: "an object ({…})",
    list: "a list",
    str: "text",
    int: "a number",
    float: "a number",
    bool: "true or false",
}
OUTSIDE = (
    "which is outside dataset.root. Move it into root, or, if you trust the origin of this file: "
    "dataset.allow_outside=true."
)


class AnnotatedDataset(Dataset):
    """A data set that draws its masks. A subclass fills `paths`, calls `set_classes` and overrides `draw`.

    Masks are drawn in the size of the image as it is read, turned as its EXIF orientation says, because annotation
    tools show it that way.

    Attributes:
        root: The folder of the data set.
        paths: Image file of each name, followed by the files of its labels.
        background: The class of pixels that no annotation covers; None if they are VOID.
        class_index: Class index by label.
    """

    root: Path
    paths: dict[str, tuple[Path, ...]]
    background: str | None
    class_index: dict[str, int]

    @abstractmethod
    def draw(self, name: str, mask: Mask) -> None:
        """Draw the annotations of an image onto `mask`, (H, W), which is filled with the background.

        Raises:
            DataError: An annotation cannot be drawn. The message names file and entry.
        """

    def set_classes(self, labels: Sequence[str], background: str | None) -> None:
        """Set the classes: `background`, then the labels. A label of the background's name is the background.

        Raises:
            RequestError: There are fewer than 2 or more than 255 classes, or they are not distinct.
        """
        names = [label for label in labels if label != background]
        if background is not None:
            names.insert(0, background)
        self.background = background
        self.classes = read_classes(self.root, names)
        self.class_index = {name: index for index, name in enumerate(self.classes.names)}

    @property
    def names(self) -> Sequence[str]:  # type: ignore[override]
        return tuple(self.paths)

    def files(self, name: str) -> tuple[Path, ...]:
        return self.paths[name]

    def image(self, name: str) -> Tensor:
        return read_image(self.paths[name][0], self.channels)

    def mask(self, name: str) -> Tensor:
        return self.sample(name).mask

    def sample(self, name: str) -> Sample:
        image = self.image(name)
        mask = np.full(tuple(image.shape[-2:]), VOID if self.background is None else 0, np.uint8)
        self.draw(name, mask)
        return Sample(name, image, torch.from_numpy(mask))


def check_size(mask: Mask, width: object, height: object, image: Path, file: Path) -> None:
    """Compare the size that an annotation file states with that of the image.

    Args:
        mask: (H, W) in the size of the image.
        width: As stated; None if the file states none.
        height: As stated; None if the file states none.
        image: The image file.
        file: The annotation file.

    Raises:
        DataError: They differ.
    """
    mask_height, mask_width = mask.shape
    if width not in (None, mask_width) or height not in (None, mask_height):
        raise DataError(
            f"{image}: is {mask_width}×{mask_height} (turned as its EXIF orientation says), but {file} states "
            f"{reprlib.repr(width)}×{reprlib.repr(height)}. Annotate this file, or restore the one that was annotated."
        )


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        DataError: The file cannot be read, or holds no object.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UnreadableError(f"{file}: cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:  # ValueError: no JSON, or no UTF-8
        raise UnreadableError(f"{file}: cannot be read as JSON ({error}).") from error
    if not isinstance(content, dict):
        raise DataError(f"{file}: holds no JSON object ({{…}}).")
    return content


def take(entry: Any, key: str, kinds: tuple[type, ...], *place: object) -> Any:
    """The value of a key of a JSON object.

    Args:
        entry: The object.
        key: The key.
        kinds: Types that its value may have.
        place: The file, then the keys and indices that lead to the object.

    Raises:
        DataError: It is not an object, or its value is missing or of another type. The message names file and key.
    """
    value = entry.get(key) if isinstance(entry, dict) else None
    if isinstance(value, kinds) and not isinstance(value, bool):
        return value
    file, *keys = place
    where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in (*keys, key)).lstrip(".")
    needed = " or ".join(dict.fromkeys(WORDS[kind] for kind in kinds))
    if not isinstance(entry, dict) or key not in entry:
        found = " is missing"
    else:
        found = "=null" if value is None else f"={reprlib.repr(value)}"
    raise DataError(f"{file}: {where}{found}: must be {needed}. Correct the file, or export it again.")


def take_name(entry: Any, key: str, *place: object) -> str:
    """The name of a class or label, as it is written; see `take`. True, false and null are no names."""
    return str(take(entry, key, (str, int), *place))


def folders_allowed(allow_outside: bool, *folders: Path) -> list[str] | None:
    """What `path_inside` takes: the folders as absolute paths, as they are written and with links resolved; or None."""
    if allow_outside:
        return None
    return [str(spelling(folder)) for folder in folders for spelling in (os.path.abspath, os.path.realpath)]


def path_inside(path: Path, folders: Sequence[str] | None) -> Path | None:
    """The path to open for one that an annotation file names; None if it leads out of the folders.

    It is judged as it is written, before any file is touched: `..` goes back along the path, and links are not
    resolved. An annotation file cannot make links, so those inside the folders are the user's and may lead anywhere.

    Args:
        path: Relative to the current folder, or absolute.
        folders: Absolute folders that may hold it; None for any.
    """
    if folders is None:
        return path
    absolute = os.path.join(os.path.abspath(path), "")  # noqa: PTH100, PTH118 - Path.resolve follows links
    is_inside = any(absolute.startswith(os.path.join(folder, "")) for folder in folders)  # noqa: PTH118
    return Path(os.path.normpath(path)) if is_inside else None


def is_file(path: Path) -> bool:
    """Whether there is such a file; false also for names that no file can have."""
    return os.path.isfile(path)  # noqa: PTH113 - Path.is_file raises an error for names that are too long


def list_images(folder: Path) -> list[str]:
    """Image files in a folder and its subfolders, without hidden ones, as paths relative to the folder."""
    suffixes = image_suffixes()
    paths = (path for path in visible_files(folder) if path.suffix.lower() in suffixes)
    return [path.relative_to(folder).as_posix() for path in paths]
