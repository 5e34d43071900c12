"""From a config to checked objects.

Every setting is checked where it enters: the annotations of the class say what is allowed, and pydantic compares the
value with them. The constructor's signature is the schema; there is no second list of keys or ranges. Objects in
objects are built only where an annotation names their class, and after the settings of all of them were checked.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from segrun.config.allowed import allowed, shown, with_article
from segrun.config.trust import Trust, locate_class, without_sources
from segrun.errors import RequestError

T = TypeVar("T")

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
    return _with_nested(_checked(config, key, trust, base))


def _checked(config: Any, key: str, trust: Trust, base: type[T] | None = None) -> Partial[T]:
    """The class and its checked settings, in which nested objects are still `Partial`: nothing is built here."""
    settings = dict(config) if isinstance(config, Mapping) else {}
    target = settings.pop("_target_", None)
    if not isinstance(target, str):
        raise RequestError(f"{key}: no _target_. Choose {key}=<name>, or give {key}._target_=<class>.")
    cls = locate_class(target, key, trust)
    if base is not None and not issubclass(cls, base):
        raise RequestError(f"{key}._target_={target}: must be {with_article(base.__name__)}.")
    late = getattr(base, "late_arguments", ())
    check = functools.partial(_setting, trust=trust)
    return Partial(cls, check_arguments(cls, without_sources(cls, settings, trust), key, late, check), key)


def _setting(value: Any, hint: Any, key: str, trust: Trust) -> Any:
    """A checked setting; an object that it names with `_target_` waits as a `Partial`.

    Raises:
        RequestError: The annotation does not allow the value, or no object of this class.
    """
    options = _options(hint)
    if isinstance(value, Mapping) and "_target_" in value:
        named = (typing.get_origin(option) or option for option in options)  # Callable[[int], int] names Callable
        classes = tuple(c for c in named if inspect.isclass(c) and c is not Any and c.__module__ != "builtins")
        if not classes and Any not in options:
            raise RequestError(f"{key}: takes no object (_target_); it must be {allowed(hint)}.")
        if not classes and trust is not None:
            raise RequestError(f"{key}: an object out of a checkpoint needs an annotation of its class that allows it.")
        waiting: Partial[Any] = _checked(value, key, trust)
        if classes and not issubclass(waiting.cls, classes):
            raise RequestError(f"{key}._target_={value['_target_']}: must be {allowed(hint)}.")
        return waiting
    if isinstance(value, list) and any(isinstance(entry, Mapping) and "_target_" in entry for entry in value):
        sequences = (typing.get_args(o)[0] for o in options if typing.get_origin(o) in (Sequence, list, tuple))
        entry_hint = next(sequences, Any if Any in options else hint)
        return [_setting(entry, entry_hint, f"{key}[{index}]", trust) for index, entry in enumerate(value)]
    return check_value(value, hint, key)


def _with_nested(waiting: Partial[T]) -> Partial[T]:
    """The same with its nested objects built, innermost first."""
    hints = _hints(waiting.cls)
    built = {name: _built(value) for name, value in waiting.settings.items()}
    nested = {name: value for name, value in built.items() if value is not waiting.settings[name]}
    checked = {n: check_value(value, hints.get(n, Any), _join(waiting.key, n)) for n, value in nested.items()}
    return Partial(waiting.cls, {**waiting.settings, **checked}, waiting.key)


def _built(value: Any) -> Any:
    """The value itself where no object waits in it."""
    if isinstance(value, Partial):
        return _with_nested(value)()
    if isinstance(value, list) and any(isinstance(entry, Partial) for entry in value):
        return [_built(entry) for entry in value]
    return value


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


def check_arguments(
    cls: type,
    settings: Mapping[str, Any],
    key: str,
    late: Sequence[str] = (),
    check: Callable[[Any, Any, str], Any] | None = None,
) -> dict[str, Any]:
    """The settings as the class takes them. No value is looked at before all names are known.

    Args:
        cls: The class.
        settings: By argument.
        key: Of the settings, for messages.
        late: Arguments that segrun sets.
        check: Gives a checked value, from the value, its annotation and its key; None: `check_value`.

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
    hints, check = _hints(cls), check or check_value
    return {name: check(value, hints.get(name, Any), _join(key, name)) for name, value in settings.items()}


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


def _filled(value: Any, hint: Any, key: str) -> Any:
    """Mappings become the dataclasses that the annotation names, also in a list or beside null."""
    for option in _options(hint):
        if dataclasses.is_dataclass(option) and isinstance(option, type) and isinstance(value, Mapping):
            return to_dataclass(value, option, key)
        if typing.get_origin(option) is Sequence and isinstance(value, list):
            (item,) = typing.get_args(option)
            return [_filled(entry, item, f"{key}[{index}]") for index, entry in enumerate(value)]
    return value


def _options(hint: Any) -> tuple[Any, ...]:
    """The alternatives of an annotation, without their constraints."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _options(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return tuple(option for argument in arguments for option in _options(argument))
    return (hint,)


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
