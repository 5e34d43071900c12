"""From words to objects: with cli.py and overrides.py all that knows Hydra and OmegaConf."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from segrun.config.keys import flat
from segrun.errors import RequestError

Config = DictConfig


def conf_dir() -> Path:
    """The shipped conf/: inside the package (wheel) or beside it (a clone, editable install)."""
    inside = Path(__file__).parent.parent / "conf"
    return inside if inside.is_dir() else Path(__file__).parent.parent.parent / "conf"


def compose(name: str, overrides: Sequence[str] = (), single: bool = False) -> Config:
    """The config that the command line would make; errors are the command line's own. single: words that ask for a
    sweep by themselves (search=rates) are refused."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from segrun.config.overrides import explained, quoted

    GlobalHydra.instance().clear()
    wrong = explained(overrides, partial(all_keys, name), option_names)
    with wrong, initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose(name, [quoted(word) for word in overrides], return_hydra_config=True)
    if single and cfg.hydra.mode is not None and cfg.hydra.mode.name == "MULTIRUN":
        asked = " ".join(overrides)
        raise RequestError(f"{asked}: asks for many trainings, which the command line does: segrun {name}")
    return without_hydra(cfg)


def without_hydra(cfg: Config) -> Config:
    """A config with Hydra's own part, as a command gets it."""
    return with_choices(OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"]), cfg.hydra)


def to_dict(cfg: Any) -> Any:
    """The resolved config as dicts and lists, ready for YAML, JSON or a checkpoint."""
    try:
        return OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise RequestError(_missing(error)) from error


def to_yaml(values: Mapping[str, Any]) -> str:
    return OmegaConf.to_yaml(OmegaConf.create(dict(values)))


def in_multirun() -> bool:
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def in_other_process() -> bool:
    """Whether the launcher gives each job of a multirun a process of its own."""
    from hydra.core.hydra_config import HydraConfig

    return not str(HydraConfig.get().launcher["_target_"]).startswith("hydra._internal.core_plugins.")


def with_choices(cfg: Config, hydra: Any = None) -> Config:
    """Write into the config what Hydra alone knows: the chosen options' names (folder names and tables are
    made of them) and the overrides that were asked for."""
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get() if hydra is None else hydra
    chosen = {k: v for k, v in hydra.runtime.choices.items() if isinstance(v, str) and "/" not in k and v != "null"}
    known = OmegaConf.create({"names": chosen, "asked": list(hydra.overrides.task)})
    return OmegaConf.merge(known, cfg)  # type: ignore[return-value]


def _missing(error: OmegaConfBaseException) -> str:
    key = getattr(error, "full_key", None) or getattr(error, "key", None)
    return f"{key} has no value: give {key}=…" if "issing" in str(error) else str(error).splitlines()[0]


def option_names(group: str) -> list[str]:
    """The shipped options of a group that can be built as they stand (timm's backbone wants a name)."""
    return [p.stem for p in sorted((conf_dir() / group).glob("*.yaml")) if "???" not in p.read_text(encoding="utf-8")]


@functools.cache
def all_keys(name: str) -> tuple[str, ...]:
    """Every group and key of the default config of a command, for `did you mean`."""
    return tuple(key.removeprefix("names.") for key, _ in flat(OmegaConf.to_container(compose(name))))
