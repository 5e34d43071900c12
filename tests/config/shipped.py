"""The YAML files in conf/, composed and resolved."""

from __future__ import annotations

import functools
from typing import Any

from omegaconf import OmegaConf

from segrun.config.compose import _composed, to_dict
from segrun.config.options import conf_dir

CONF = conf_dir()
FILES = sorted(path.relative_to(CONF).with_suffix("").as_posix() for path in CONF.rglob("*.yaml"))
PRIMARY = [name for name in FILES if "/" not in name]
OPTIONS = [name for name in FILES if "/" in name and not name.startswith("hydra/")]
# what only the user can know
MISSING = {"dataset.root": "data", "checkpoint": "best.ckpt", "input": "in", "output": "out", "sizing.size": [32, 32],
           "backbone.name": "resnet10t", "runs": ["outputs"],
           "auxiliary.segmentation.dataset.root": "other"}  # fmt: skip


def options(group: str) -> list[str]:
    """Every option of a group, also those that need a further value."""
    return [name.partition("/")[2] for name in OPTIONS if name.startswith(f"{group}/")]


@functools.cache
def composed(name: str, *words: str) -> dict[str, Any]:
    """Resolved; what only the user can know is filled in where the config asks for it."""
    config = _composed(name, words, False)
    for key in OmegaConf.missing_keys(config):
        OmegaConf.update(config, key, MISSING[key])
    return to_dict(config)
