"""The classes of a user's own data set: from the config or from a file beside the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from segrun.errors import RequestError, join_names
from segrun.types import ClassMap


def distinct(classes: ClassMap, ignore_index: int) -> None:
    """Raises RequestError where the value that means "no label" is a class, too."""
    if ignore_index in range(len(classes)):
        name = classes.names[ignore_index]
        raise RequestError(f"dataset.ignore_index={ignore_index}: is the value of the class {name!r}, too.")


def read_classes(root: Path, given: Sequence[str] | Mapping[str, Sequence[int]] | None) -> ClassMap:
    """From the config, else `classes.yaml` (a list, or name: [r, g, b]), else `classes.txt` (a name a line,
    its colour behind it if there is one)."""
    classes: Any = given
    for file, parse in ((root / "classes.yaml", yaml.safe_load), (root / "classes.txt", _class_lines)):
        if classes is None and file.is_file():
            try:
                classes = parse(file.read_text(encoding="utf-8-sig"))
            except (yaml.YAMLError, UnicodeDecodeError) as error:
                kind = "YAML" if file.suffix == ".yaml" else "UTF-8 text"
                raise RequestError(f"{file}: no {kind} ({str(error).splitlines()[0]}).") from error
    if not classes:
        raise RequestError(
            f"{root}: the classes are not known. Give dataset.classes=[background,…] in the order of their "
            "values, or write classes.txt (one name a line)."
        )
    if not _are_classes(classes):
        raise RequestError(
            f"{root}: classes are a list of names, or name: [r, g, b] with different colours from 0 to 255."
        )
    if not 2 <= len(classes) <= 255 or len(set(map(str, classes))) != len(classes):
        raise RequestError(f"{root}: {len(classes)} classes ({join_names(classes)}); 2 to 255 different ones are possible.")
    return ClassMap.of(classes)


def _class_lines(text: str) -> list[str] | dict[str, list[str]]:
    rows = [line.replace(",", " ").split() for line in text.split("\n") if line.strip()]
    coloured = all(len(row) > 3 and all(v.isdigit() for v in row[-3:]) for row in rows)
    names = [" ".join(row[:-3] if coloured else row) for row in rows]
    if coloured and len(set(names)) == len(names):
        return {name: row[-3:] for name, row in zip(names, rows, strict=True)}
    return names


def _are_classes(classes: Any) -> bool:
    """Names, or names with a colour of its own each."""
    if not isinstance(classes, Mapping):
        listing = isinstance(classes, Sequence) and not isinstance(classes, str)
        return listing and all(isinstance(name, str | int) for name in classes)
    colours = [tuple(str(v) for v in c) for c in classes.values() if isinstance(c, Sequence) and len(c) == 3]
    bytes_ = all(v.isdecimal() and int(v) < 256 for colour in colours for v in colour)
    return bytes_ and len(set(colours)) == len(classes)
