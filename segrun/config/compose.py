"""From the words of the command line to a config. Besides cli.py, overrides.py and the sweepers nothing uses Hydra."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from segrun.config.keys import flatten
from segrun.config.options import conf_dir, option_names
from segrun.config.overrides import explained, quoted, refuse_old_names, refuse_unknown_additions
from segrun.errors import RequestError


def compose(name: str, overrides: Sequence[str] = (), single: bool = False) -> dict[str, Any]:
    """The config that the command line would make of these words.

    Args:
        name: A primary config such as "train".
        overrides: The words.
        single: Refuse words that ask for a sweep by themselves, such as search=rates.

    Raises:
        RequestError: As the command line would.
    """
    return to_dict(_composed(name, tuple(overrides), single))


def to_dict(config: DictConfig) -> dict[str, Any]:
    """The resolved config as dicts and lists, ready for YAML, JSON or a checkpoint.

    Raises:
        RequestError: A value is missing or cannot be resolved.
    """
    try:
        return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or getattr(error, "key", None)
        missing = "issing" in str(error)
        raise RequestError(
            f"{key} has no value: give {key}=…" if missing else f"{key}: {str(error).splitlines()[0]}"
        ) from error


def with_choices(config: DictConfig, hydra: Any = None) -> DictConfig:
    """Write into the config what Hydra alone knows: the chosen options and the overrides.

    Args:
        config: A config without Hydra's own part.
        hydra: Hydra's part; None: that of the running command.
    """
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get() if hydra is None else hydra
    names = {
        group: option
        for group, option in hydra.runtime.choices.items()
        if isinstance(option, str) and "/" not in group and option != "null"
    }
    known = OmegaConf.create({"names": names, "asked": list(hydra.overrides.task)})
    return OmegaConf.merge(known, config)  # type: ignore[return-value]


def without_hydra(config: DictConfig) -> DictConfig:
    """A config with Hydra's part, as a command gets it."""
    own = [str(key) for key in config if key != "hydra"]
    return with_choices(OmegaConf.masked_copy(config, own), config.hydra)


def in_multirun() -> bool:
    """Whether this process runs jobs of a sweep of segrun. A caller of `segrun.train` may have a sweep of their own."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return False
    return any(source.path == str(conf_dir()) for source in HydraConfig.get().runtime.config_sources)


def in_other_process() -> bool:
    """Whether the launcher gives each job of a sweep a process of its own."""
    from hydra.core.hydra_config import HydraConfig

    return not str(HydraConfig.get().launcher["_target_"]).startswith("hydra._internal.core_plugins.")


@functools.cache
def known_keys(name: str) -> tuple[str, ...]:
    """Every group and key of a command's default config, for "Did you mean …?"."""
    values = OmegaConf.to_container(_composed(name, (), False))
    return tuple(key.removeprefix("names.") for key, _ in flatten(values))


def _composed(name: str, overrides: Sequence[str], single: bool) -> DictConfig:
    from hydra import compose, initialize_config_dir

    refuse_old_names(overrides)
    refuse_unknown_additions(overrides, partial(known_keys, name))
    errors = explained(overrides, partial(known_keys, name), option_names)
    with _own_hydra(), errors, initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose(name, [quoted(word) for word in overrides], return_hydra_config=True)
    if single and config.hydra.mode is not None and config.hydra.mode.name == "MULTIRUN":
        words = " ".join(overrides)
        raise RequestError(f"{words}: asks for several trainings. Use the command line: segrun {name} -m …")
    return without_hydra(config)


@contextlib.contextmanager
def _own_hydra() -> Iterator[None]:
    """Inside, Hydra is not initialized; afterwards it is as the caller left it, also after an error."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.version import VersionBase

    callers, version = GlobalHydra.instance(), VersionBase.instance()
    hydra, version_base = callers.hydra, version.version_base
    callers.clear()
    try:
        yield
    finally:
        GlobalHydra.set_instance(callers)
        callers.hydra, version.version_base = hydra, version_base
