"""From a config to objects."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from segrun.config.compose import to_dict
from segrun.errors import RequestError

T = TypeVar("T")


def to_dataclass(cfg: Any, kind: type[T], place: str) -> T:
    """`cfg` as the dataclass `kind`: an unknown key, a wrong type or a missing value is refused by name.

    place: where `cfg` stands in the config; "" for its top, which holds other keys as well.
    """
    if not place:
        cfg = {field.name: cfg[field.name] for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    try:
        merged = OmegaConf.merge(OmegaConf.structured(kind), cfg)
        result = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or getattr(error, "key", None) or ""
        reason = str(error).splitlines()[0]
        raise RequestError(f"{f'{place}.{key}'.lstrip('.')}: {reason}.") from error
    assert isinstance(result, kind)
    return result


def build(cfg: Any, place: str, *, trust: Sequence[str] | None = None, **given: Any) -> Any:
    """The object that `cfg._target_` names, made from the rest of `cfg` and from `given`.

    `trust=None` says that the config is the user's own; a sequence, that it came out of a checkpoint:
    then only classes defined inside segrun, or in a module listed there, are made.

    Raises:
        RequestError: no such class, or arguments that it does not take.
    """
    values = dict(cfg) if isinstance(cfg, dict) else to_dict(cfg) if isinstance(cfg, DictConfig) else {}
    target = values.pop("_target_", None)
    if not isinstance(target, str):
        raise RequestError(f"{place}: has no _target_. Choose {place}=<name> or give {place}._target_=<class>.")
    made = locate(target, place, trust)
    arguments = {**{key: _nested(value, f"{place}.{key}", trust) for key, value in values.items()}, **given}
    try:
        inspect.signature(made).bind(**arguments)
    except TypeError as error:
        takes = [p for p in inspect.signature(made).parameters if p not in given]
        raise RequestError(f"{place}: {target} {error}. It takes {', '.join(takes)}.") from error
    try:
        hints = typing.get_type_hints(made.__init__)
    except NameError:  # annotations that only a type checker can resolve
        hints = {}
    for key, value in values.items():
        if not fits(value, hints.get(key, Any)):
            raise RequestError(f"{place}.{key}={value}: is to be {_shown(hints[key])}.")
    return made(**arguments)


def fits(value: Any, hint: Any) -> bool:
    """Whether a plain config value fits a simple annotation; what is not simple is left to the class."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(fits(value, option) for option in typing.get_args(hint))
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint) if hint in (str, bool, type(None)) else True


def _shown(hint: Any) -> str:
    return str(getattr(hint, "__name__", hint) if not typing.get_args(hint) else hint).replace("collections.abc.", "")


def _nested(value: Any, place: str, trust: Sequence[str] | None) -> Any:
    if isinstance(value, dict) and "_target_" in value:
        return build(value, place, trust=trust)
    if isinstance(value, list):
        return [_nested(item, f"{place}[{i}]", trust) for i, item in enumerate(value)]
    return value


def locate(target: str, place: str, trust: Sequence[str] | None) -> Any:
    """The class behind a dotted path. What is trusted is judged by where the class was *defined*:
    `segrun.x.os.system` begins with segrun, too."""
    module, _, name = target.rpartition(".")
    allowed = None if trust is None else ("segrun", *trust)
    if allowed is not None and not any(module == ok or module.startswith(f"{ok}.") for ok in allowed):
        raise RequestError(
            f"{place}: the checkpoint names {target}, which is not segrun's. "
            f"If you know and trust that code: trust=[{module}]."
        )
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # a user's own class lies in the current folder
    try:
        made = getattr(__import__(module, fromlist=[name]), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise RequestError(f"{place}: there is no {target} ({error}).") from error
    home = getattr(made, "__module__", "")
    if not inspect.isclass(made) or (
        allowed is not None and not any(home == ok or home.startswith(f"{ok}.") for ok in allowed)
    ):
        raise RequestError(f"{place}: {target} is not a class that may be built here.")
    return made
