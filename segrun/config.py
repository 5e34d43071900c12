"""From words to objects: with cli.py and overrides.py all that knows Hydra and OmegaConf."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from segrun.errors import RequestError

T = TypeVar("T")
Config = DictConfig

# what may differ between a run and its resumption, and between two runs that are the same run
INCIDENTAL = (
    "trainer.device", "trainer.workers", "trainer.cache", "dataset.download", "rules", "tracker", "resume", "output",
    "trust", "names", "asked", "test", "retry", "budget",
)  # fmt: skip


def conf_dir() -> Path:
    """The shipped conf/: inside the package (wheel) or beside it (a clone, editable install)."""
    inside = Path(__file__).parent / "conf"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "conf"


def compose(name: str, overrides: Sequence[str] = (), single: bool = False) -> Config:
    """The config that the command line would make; errors are the command line's own. single: words that ask for a
    sweep by themselves (search=rates) are refused."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from segrun.overrides import explained, quoted

    GlobalHydra.instance().clear()
    wrong = explained(overrides, partial(all_keys, name), options)
    with wrong, initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose(name, [quoted(word) for word in overrides], return_hydra_config=True)
    if single and cfg.hydra.mode is not None and cfg.hydra.mode.name == "MULTIRUN":
        asked = " ".join(overrides)
        raise RequestError(f"{asked}: asks for many trainings, which the command line does: segrun {name}")
    return unhooked(cfg)


def unhooked(cfg: Config) -> Config:
    """A config with Hydra's own part, as a command gets it."""
    return named(OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"]), cfg.hydra)


def plain(cfg: Any) -> Any:
    """The resolved config as dicts and lists, ready for YAML, JSON or a checkpoint."""
    try:
        return OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise RequestError(_missing(error)) from error


def to_yaml(values: Mapping[str, Any]) -> str:
    return OmegaConf.to_yaml(OmegaConf.create(dict(values)))


def typed(cfg: Any, kind: type[T], place: str) -> T:
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
    values = dict(cfg) if isinstance(cfg, dict) else plain(cfg) if isinstance(cfg, DictConfig) else {}
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


def identity(values: Mapping[str, Any]) -> dict[str, Any]:
    """The flat config without what cannot change the outcome."""
    flat = dict(_flat(values))
    inside = tuple(f"{key}." for key in INCIDENTAL)
    return {k: v for k, v in flat.items() if k not in INCIDENTAL and not k.startswith(inside)}


def config_hash(values: Mapping[str, Any]) -> str:
    """Ten characters that two configs share when they ask for the same run."""
    text = json.dumps(identity(values), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def in_multirun() -> bool:
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def in_other_process() -> bool:
    """Whether the launcher gives each job of a multirun a process of its own."""
    from hydra.core.hydra_config import HydraConfig

    return not str(HydraConfig.get().launcher["_target_"]).startswith("hydra._internal.core_plugins.")


def named(cfg: Config, hydra: Any = None) -> Config:
    """Write into the config what Hydra alone knows: the chosen options' names (folder names and tables are
    made of them) and the overrides that were asked for."""
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get() if hydra is None else hydra
    chosen = {k: v for k, v in hydra.runtime.choices.items() if isinstance(v, str) and "/" not in k and v != "null"}
    known = OmegaConf.create({"names": chosen, "asked": list(hydra.overrides.task)})
    return OmegaConf.merge(known, cfg)  # type: ignore[return-value]


def _flat(values: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if isinstance(values, Mapping) and values:
        return [pair for k, v in values.items() for pair in _flat(v, f"{prefix}.{k}" if prefix else str(k))]
    return [(prefix, values)]


def _missing(error: OmegaConfBaseException) -> str:
    key = getattr(error, "full_key", None) or getattr(error, "key", None)
    return f"{key} has no value: give {key}=…" if "issing" in str(error) else str(error).splitlines()[0]


def options(group: str) -> list[str]:
    """The shipped options of a group that can be built as they stand (timm's backbone wants a name)."""
    return [p.stem for p in sorted((conf_dir() / group).glob("*.yaml")) if "???" not in p.read_text(encoding="utf-8")]


@functools.cache
def all_keys(name: str) -> tuple[str, ...]:
    """Every group and key of the default config of a command, for `did you mean`."""
    return tuple(key.removeprefix("names.") for key, _ in _flat(OmegaConf.to_container(compose(name))))
