"""The classes of a user's data set: from the config, or from a file beside the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from annotated_types import Ge, Le, MaxLen, MinLen

from segrun.errors import RequestError, UnreadableError, join_names
from segrun.types import ClassMap

# as YAML gives them
ClassName = str | int | float | bool | None
ClassColour = Annotated[Sequence[Annotated[int, Ge(0), Le(255)]], MinLen(3), MaxLen(3)]
Classes = Sequence[ClassName] | Mapping[ClassName, ClassColour]
NULLS = ("", "~", "null", "Null", "NULL")  # how YAML writes that there is no value
# "auto" refuses masks of 0 and 255 beside masks of 0 and 1; with "index", 255 means "no label" in all of them
MaskValues = Literal["auto", "index"]
IgnoreIndex = Annotated[int, Ge(-(2**31)), Le(2**32 - 1)]  # what a mask file of integers can hold


class _TextLoader(yaml.SafeLoader):  # type: ignore[misc]
    """Reads every scalar as it is written: YAML would make false of `off`, 1 of `01` and null of `null`."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - as the base class declares it

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys: set[str] = set()
        for key, _ in node.value:
            if str(key.value) in keys:
                raise yaml.constructor.ConstructorError(problem=f"{str(key.value)[:40]!r} occurs twice")
            keys.add(str(key.value))
        return super().construct_mapping(node, deep)  # type: ignore[no-any-return]


def guesses_index(masks: MaskValues, ignore_index: int) -> bool:
    """Whether no setting says that 255 means "no label": see `Dataset.guessed_index`."""
    return masks == "auto" and ignore_index == 255


def read_yaml(file: Path) -> Any:
    """The content of a YAML file, in which every value and every key is text as it is written.

    Raises:
        UnreadableError: It cannot be read, or is not YAML.
    """
    try:
        return yaml.load(file.read_text(encoding="utf-8-sig"), Loader=_TextLoader)
    except OSError as error:
        raise UnreadableError(f"{file}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise UnreadableError(f"{file}: cannot be read (not UTF-8 text).") from error
    except RecursionError as error:
        raise UnreadableError(f"{file}: is not YAML (nested too deeply).") from error
    except (yaml.YAMLError, ValueError, TypeError, AttributeError) as error:  # all but the first: tags such as !!int
        raise UnreadableError(f"{file}: is not YAML ({str(error).splitlines()[0]}).") from error


def check_ignore_index(classes: ClassMap, ignore_index: int) -> None:
    """Refuse an `ignore_index` that is the index of a class.

    Raises:
        RequestError: It is.
    """
    if ignore_index in range(len(classes)):
        name = classes.names[ignore_index]
        raise RequestError(
            f"dataset.ignore_index={ignore_index}: is the value of the class {name!r}, too. Choose a value that is "
            "no class."
        )


def read_classes(root: Path, classes: Classes | None) -> ClassMap:
    """The classes of the config, otherwise those of `classes.yaml` or `classes.txt` in `root`.

    `classes.yaml` holds a list of names, or `name: [r, g, b]`. `classes.txt` holds one name per line, which may be
    followed by its colour.

    Raises:
        RequestError: There are no classes, fewer than 2 or more than 255, or names or colours that are not distinct.
    """
    entries: Any = _from_file(root) if classes is None else classes
    if not entries:
        raise RequestError(
            f"{root}: the classes are not known. Give dataset.classes=[background,…] in the order of their values, "
            "or write classes.txt (one name per line)."
        )
    if isinstance(entries, Sequence | Mapping) and any(isinstance(name, bool | float | None) for name in entries):
        raise RequestError(
            "dataset.classes: true, false, null and numbers with a point are no names in YAML. Write them in quotes: "
            '\'dataset.classes=["true","1.0"]\'.'
        )
    if not _is_list_of_names(entries) and not _is_mapping_to_colours(entries):
        raise RequestError(
            f"{root}: classes must be a list of names, or name: [r, g, b] with different colours from 0 to 255."
        )
    if any(not str(name).strip() or not _is_unicode(str(name)) for name in entries):
        raise RequestError(f"{root}: a class has no name, or one that is no Unicode text. Give each class a name.")
    if not 2 <= len(entries) <= 255 or len(set(map(str, entries))) != len(entries):
        raise RequestError(f"{root}: {len(entries)} classes ({join_names(entries)}). Give 2 to 255 different ones.")
    return ClassMap.of(entries)


def _from_file(root: Path) -> Any:
    """The content of classes.yaml, or of classes.txt; None where neither exists or holds anything."""
    yaml_file, text_file = root / "classes.yaml", root / "classes.txt"
    if yaml_file.is_file():
        content = read_yaml(yaml_file)
        if content is not None:
            return content
    if not text_file.is_file():
        return None
    try:
        return _parse_lines(text_file.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise RequestError(f"{text_file}: is not UTF-8 text ({str(error).splitlines()[0]}).") from error


def _parse_lines(text: str) -> list[str] | dict[str, list[str]]:
    """Names, with their colours where every line ends in three numbers and no name occurs twice."""
    rows = [line.replace(",", " ").split() for line in text.split("\n") if line.strip()]
    if not all(len(row) > 3 and all(word.isdigit() for word in row[-3:]) for row in rows):
        return [" ".join(row) for row in rows]
    names = [" ".join(row[:-3]) for row in rows]
    if len(set(names)) < len(names):
        return names  # a mapping would hide that a name occurs twice
    return {name: row[-3:] for name, row in zip(names, rows, strict=True)}


def _is_unicode(text: str) -> bool:
    """Whether a text can be written to a file: JSON can hold halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_list_of_names(classes: Any) -> bool:
    if isinstance(classes, str | Mapping) or not isinstance(classes, Sequence):
        return False
    return all(isinstance(name, str | int) for name in classes)


def _is_mapping_to_colours(classes: Any) -> bool:
    if not isinstance(classes, Mapping) or not all(_is_colour(colour) for colour in classes.values()):
        return False
    return len({tuple(map(str, colour)) for colour in classes.values()}) == len(classes)


def _is_colour(colour: Any) -> bool:
    """Three bytes, as numbers or as digits of a text file."""
    if not isinstance(colour, Sequence) or len(colour) != 3:
        return False
    return all(str(value).isdecimal() and int(value) < 256 for value in colour)
