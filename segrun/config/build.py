"""From a config to checked objects.

Every setting is checked where it enters: the annotations of the class say what is allowed, and pydantic compares the
value with them. The constructor's signature is the schema; there is no second list of keys or ranges.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from segrun.config.allowed import allowed, shown, with_article
from segrun.errors import RequestError

T = TypeVar("T")
Trust = Sequence[str] | None  # None: the user's own config; otherwise modules that a checkpoint's config may name

# strict: 1 is a float, but "1" is no number and true is no 1
_STRICT = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)


@dataclasses.dataclass(frozen=True)
class Partial(Generic[T]):
    """A class with its checked settings, waiting for the arguments that are known late.

    Args:
        cls: The class.
        settings: Checked keyword arguments.
        key: The config key that names the class, for messages.
    """

    cls: type[T]
    settings: Mapping[str, Any]
    key: str

    def __call__(self, **late: Any) -> T:
        """Build the object. A late argument that the class does not take is left out."""
        taken = {name: value for name, value in late.items() if name in _parameters(self.cls)}
        return self.cls(**self.settings, **taken)

    def replace(self, **settings: Any) -> Partial[T]:
        """The same with other settings; a setting that the class does not take is left out."""
        taken = {name: value for name, value in settings.items() if name in _parameters(self.cls)}
        return Partial(self.cls, {**self.settings, **taken}, self.key)


def build(config: Any, key: str, *, trust: Trust = None) -> Any:
    """The object that `config` names with `_target_`.

    Args:
        config: A mapping with `_target_` and the keyword arguments of the class.
        key: The key of the mapping in the whole config, for messages.
        trust: See `Trust`.

    Raises:
        RequestError: There is no such class, it may not be built here, or an argument is unknown, missing or outside
            its range.
    """
    return partial(config, key, trust=trust)()


def partial(config: Any, key: str, *, trust: Trust = None, base: type[T] | None = None) -> Partial[T]:
    """The class that `config` names, with checked settings; see `build`.

    Args:
        config: As for `build`.
        key: As for `build`.
        trust: As for `build`.
        base: The class must derive from it. Its `late_arguments` are set by segrun and no settings.
    """
    settings = dict(config) if isinstance(config, Mapping) else {}
    target = settings.pop("_target_", None)
    if not isinstance(target, str):
        raise RequestError(f"{key}: no _target_. Choose {key}=<name>, or give {key}._target_=<class>.")
    cls = locate_class(target, key, trust)
    if base is not None and not issubclass(cls, base):
        raise RequestError(f"{key}._target_={target}: must be {with_article(base.__name__)}.")
    nested = {name: _nested(value, f"{key}.{name}", trust) for name, value in settings.items()}
    late = getattr(base, "late_arguments", ())
    return Partial(cls, check_arguments(cls, nested, key, late), key)


def to_dataclass(config: Any, kind: type[T], key: str) -> T:
    """A settings dataclass out of a mapping; a wrong key or value is refused by name.

    Args:
        config: The mapping. At the top of a config (key "") it holds other keys as well, which are ignored.
        kind: The dataclass.
        key: The key of the mapping in the whole config, "" for its top.
    """
    if not isinstance(config, Mapping):
        raise RequestError(f"{key}={shown(config)}: must be {allowed(kind)}.")
    if not key:
        names = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
        config = {name: value for name, value in config.items() if name in names}
    return kind(**check_arguments(kind, config, key))


def check_arguments(cls: type, settings: Mapping[str, Any], key: str, late: Sequence[str] = ()) -> dict[str, Any]:
    """The settings as the class takes them.

    Raises:
        RequestError: A setting is unknown, missing, late (set by segrun), or not what its annotation allows.
    """
    parameters = _parameters(cls)
    own = [name for name in parameters if name not in late]
    for name in settings:
        if name in late and name in parameters:
            raise RequestError(f"{_join(key, name)}: is set by segrun and cannot be given.")
        if name not in own and not _takes_any(cls):
            raise RequestError(f"{_join(key, name)}: {cls.__name__} takes no such key. It takes {', '.join(own)}.")
    for name in own:
        if parameters[name].default is inspect.Parameter.empty and name not in settings:
            raise RequestError(f"{_join(key, name)}: has no value. {cls.__name__} needs one.")
    hints = _hints(cls)
    return {name: check_value(value, hints.get(name, Any), _join(key, name)) for name, value in settings.items()}


def check_value(value: Any, hint: Any, key: str) -> Any:
    """The value as its annotation asks for it: mappings become the dataclasses that the annotation names.

    Raises:
        RequestError: The annotation does not allow the value.
    """
    filled = _filled(value, hint, key)
    try:
        return _adapter(hint).validate_python(filled)
    except ValidationError as error:
        raise RequestError(f"{key}={shown(value)}: must be {allowed(hint)}.") from error


def locate_class(target: str, key: str, trust: Trust) -> Any:
    """The class behind a dotted path.

    Trust is judged by the module that *defines* the class: `segrun.x.os.system` begins with segrun, too.

    Raises:
        RequestError: There is no such class, or a checkpoint's config may not name it.
    """
    module, _, name = target.rpartition(".")
    trusted = None if trust is None else ("segrun", *trust)
    if trusted is not None and not _inside(module, trusted):
        raise RequestError(
            f"{key}: the checkpoint names {target}, which is not part of segrun. "
            f"If you know and trust that code: trust=[{module}]."
        )
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # a user's own class lies in the current folder
    try:
        cls = getattr(__import__(module, fromlist=[name]), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise RequestError(f"{key}: there is no {target} ({error}).") from error
    home = getattr(cls, "__module__", "")
    if not inspect.isclass(cls) or (trusted is not None and not _inside(home, trusted)):
        raise RequestError(f"{key}: {target} is not a class that may be built here.")
    return cls


def _inside(module: str, packages: Sequence[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _nested(value: Any, key: str, trust: Trust) -> Any:
    """Objects that a setting names with `_target_` are built first."""
    if isinstance(value, Mapping) and "_target_" in value:
        return build(value, key, trust=trust)
    if isinstance(value, list):
        return [_nested(item, f"{key}[{index}]", trust) for index, item in enumerate(value)]
    return value


def _filled(value: Any, hint: Any, key: str) -> Any:
    """Mappings become the dataclasses that the annotation names, also in a list or beside null."""
    options = typing.get_args(hint) if _is_union(hint) else (hint,)
    for option in options:
        if dataclasses.is_dataclass(option) and isinstance(option, type) and isinstance(value, Mapping):
            return to_dataclass(value, option, key)
        if typing.get_origin(option) is typing.Annotated:
            return _filled(value, typing.get_args(option)[0], key)
        if typing.get_origin(option) is Sequence and isinstance(value, list):
            (item,) = typing.get_args(option)
            return [_filled(entry, item, f"{key}[{index}]") for index, entry in enumerate(value)]
    return value


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


@functools.cache
def _adapter(hint: Any) -> TypeAdapter[Any]:
    if dataclasses.is_dataclass(hint):  # filled before; pydantic refuses a config for it
        return TypeAdapter(hint)
    return TypeAdapter(hint, config=_STRICT)


def _hints(cls: Any) -> dict[str, Any]:
    """The annotations of the constructor; what only a type checker can resolve is not checked."""
    source: Any = cls if dataclasses.is_dataclass(cls) else cls.__init__
    try:
        return typing.get_type_hints(source, include_extras=True)
    except NameError:
        return {}


def _parameters(cls: Any) -> Mapping[str, inspect.Parameter]:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {name: p for name, p in inspect.signature(cls).parameters.items() if p.kind in kinds}


def _takes_any(cls: type) -> bool:
    return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in inspect.signature(cls).parameters.values())


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name
