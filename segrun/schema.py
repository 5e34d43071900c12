"""Files that segrun wrote, read back: their content is compared with a schema, which is an annotation.

A schema is a `TypedDict`, a dataclass (whose fields are the keys) or any other type. Comparison is strict: "1" is no
number. Keys that a schema does not name are ignored, because other versions of segrun may write them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import reprlib
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from typing_extensions import TypedDict, is_typeddict

from segrun.errors import DataError, RequestError

# pydantic's words and ours
WORDS = {"Input should be": "must be", "Field required": "is missing", "a valid dictionary": "a mapping",
         "a valid string": "text", "a valid integer": "an integer", "a valid ": "a ",
         "'str' instances are not allowed as a Sequence value": "must be a list"}  # fmt: skip
_STRICT = ConfigDict(strict=True, arbitrary_types_allowed=True)


def read_json(path: Path, schema: Any, cure: str) -> Any:
    """The content of a JSON file.

    Args:
        path: The file.
        schema: See the module.
        cure: What to do if the file cannot be used, as a sentence.

    Raises:
        DataError: The file cannot be read, or a key is missing or has a wrong type. The message names file and key.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). {cure}") from error
    return parse_json(content, schema, str(path), cure)


def parse_json(content: bytes | str, schema: Any, place: str, cure: str) -> Any:
    """As `read_json`, for content that was read from `place`."""
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:  # ValueError: no JSON, or not UTF-8
        raise DataError(f"{place}: cannot be read as JSON ({error}). {cure}") from error
    check_content(values, schema, place, cure)
    return values


def check_content(content: Any, schema: Any, place: str, cure: str) -> None:
    """Compare what was read from a file with its schema.

    Args:
        content: Mappings, lists and values.
        schema: See the module.
        place: The file, for messages; where `content` is part of it, with the key: `best.ckpt: training`.
        cure: What to do if it does not fit, as a sentence.

    Raises:
        DataError: A key is missing or has a wrong type. The message names the file and the key.
    """
    try:
        _adapter(schema).validate_python(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        key = ".".join(str(word) for word in first["loc"])
        problem = functools.reduce(lambda text, words: text.replace(*words), WORDS.items(), first["msg"])
        found = "" if first["type"] == "missing" else f", not {_shown(first['input'])}"
        raise DataError(f"{place}: {f'{key}: ' if key else ''}{problem}{found}. {cure}".strip()) from error


def like(example: Any) -> Any:
    """The schema of what has the keys and types of an example; an empty mapping stands for any numbers by name."""
    if isinstance(example, Mapping):
        keys = {key: like(value) for key, value in example.items()}
        return _typed_dict(keys) if keys else Mapping[str, float]
    return Any if example is None else type(example)


@contextlib.contextmanager
def errors_name(path: Path | None) -> Iterator[None]:
    """Messages of errors that are raised inside begin with the file whose content is to blame."""
    try:
        yield
    except RequestError as error:
        if path is None or str(error).startswith(str(path)):
            raise
        raise type(error)(f"{path}: {error}") from error


@functools.lru_cache(maxsize=64)
def _adapter(schema: Any) -> TypeAdapter[Any]:
    if dataclasses.is_dataclass(schema):  # in strict mode pydantic would accept nothing but an instance
        schema = _typed_dict(typing.get_type_hints(schema, include_extras=True))
    if is_typeddict(schema):
        schema.__pydantic_config__ = _STRICT
        return TypeAdapter(schema)
    return TypeAdapter(schema, config=_STRICT)


def _typed_dict(keys: Mapping[str, Any]) -> Any:
    return TypedDict("Content", dict(keys))  # type: ignore[operator]


def _shown(value: Any) -> str:
    """A value in a message: as it is where that is short, its type otherwise."""
    simple = value is None or isinstance(value, str | int | float)
    return reprlib.repr(value) if simple else f"a {type(value).__name__}"
