"""What an annotation allows, in words."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen

WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    type(None): "null",
    Any: "anything",
}


def allowed(hint: Any) -> str:
    """`PositiveInt | None` → "a whole number of at least 1, or null"."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        base, *constraints = arguments
        return f"{allowed(base)} {_limits(constraints)}".strip()
    if origin in (typing.Union, types.UnionType):
        return ", or ".join(dict.fromkeys(map(allowed, arguments)))
    if origin is Literal:
        return f"one of {', '.join(map(shown, arguments))}" if len(arguments) > 1 else shown(arguments[0])
    if origin in (Sequence, list, tuple):
        return f"a list, each entry {allowed(arguments[0])}"
    if origin in (Mapping, dict):
        return f"a mapping, each value {allowed(arguments[1])}"
    if dataclasses.is_dataclass(hint):
        return f"a mapping with the keys {', '.join(field.name for field in dataclasses.fields(hint))}"
    return WORDS.get(hint) or with_article(getattr(hint, "__name__", str(hint)))


def with_article(name: str) -> str:
    """A class name with its indefinite article."""
    return f"{'an' if name[0] in 'AEIO' else 'a'} {name}"


def shown(value: Any) -> str:
    """A value as the command line spells it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{','.join(map(shown, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{shown(item)}' for key, item in value.items())}}}"
    return str(value)


def _limits(constraints: Sequence[Any]) -> str:
    """ "from 0 to 1", "above 0", "of at least 1", or how many entries a list has."""
    limits = {type(constraint): constraint for constraint in constraints}
    if Ge in limits and Le in limits:
        return f"from {limits[Ge].ge:,} to {limits[Le].le:,.10g}"
    words = []
    if Ge in limits:
        words.append(f"of at least {limits[Ge].ge:,}")
    if Gt in limits:
        words.append(f"above {limits[Gt].gt:,}")
    if Le in limits:
        words.append(f"at most {limits[Le].le:,.10g}")
    if Lt in limits:
        words.append(f"below {limits[Lt].lt:,.10g}")
    if MinLen in limits and MaxLen in limits and limits[MinLen].min_length == limits[MaxLen].max_length:
        words.append(f"({limits[MinLen].min_length} entries)")
    elif MinLen in limits:
        words.append(f"({limits[MinLen].min_length} entries or more)")
    return " and ".join(words)
