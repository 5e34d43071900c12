"""`segrun models`: the backbones and heads there are, and which fit each other."""

from __future__ import annotations

import fnmatch
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from segrun import config
from segrun.commands import assemble
from segrun.errors import RequestError, closest
from segrun.models.backbone import Backbone, Level, Weightless
from segrun.models.weights import whereabouts
from segrun.report.console import console, counting
from segrun.report.help import first_comment
from segrun.report.models import backbone_table, head_table, markdown


@dataclass(frozen=True)
class BackboneRow:
    """said: the first line of its YAML; weights: where they would come from here and now; unfit: heads it lacks maps
    for, with the reason."""

    name: str
    said: str
    parameters: int
    levels: tuple[Level, ...]
    weights: str
    unfit: dict[str, str]


@dataclass(frozen=True)
class HeadRow:
    """parameters: on mobilenet_v2, for two classes."""

    name: str
    said: str
    parameters: int


def run(cfg: config.Config) -> None:
    if cfg.format not in ("table", "markdown"):
        raise RequestError(f"format={cfg.format}: choose table or markdown.")
    names = [name for name in shipped("backbone") if fnmatch.fnmatch(name, cfg.name)]
    if not names:
        raise RequestError(f"name={cfg.name}: no such backbone. {closest(cfg.name, shipped('backbone'))}")
    with counting("measuring", len(names)) as tick:
        rows = [(tick(1), backbone(name))[1] for name in names]
    if cfg.format == "markdown":
        print("\n\n".join(markdown(table) for table in (backbone_table(rows, here=False), head_table(list(heads())))))
        return
    out = console()
    out.print(backbone_table(rows, here=True))
    out.print(head_table(list(heads())))
    out.print("and any of timm's networks: backbone=timm backbone.name=<name> (extra: timm)", highlight=False)


def shipped(group: str) -> list[str]:
    """The options that can be built as they stand (timm's wants a name)."""
    return [p.stem for p in sorted((config.conf_dir() / group).glob("*.yaml")) if "???" not in p.read_text("utf-8")]


def backbone(name: str) -> BackboneRow:
    values = config.plain(config.compose("describe", [f"backbone={name}", "backbone.weights=none"]))
    with Weightless():
        made: Backbone = config.build(values["backbone"], "backbone")
        unfit = {}
        for head in shipped("head"):
            try:
                assemble.head(described(head), made.levels, 2)
            except RequestError as error:
                unfit[head] = str(error)
    size = sum(p.numel() for p in made.parameters())
    where = whereabouts(*made.published) if made.published else "–"
    return BackboneRow(name, said("backbone", name).rpartition(", ")[0], size, made.levels, where, unfit)


def heads() -> Iterator[HeadRow]:
    for name in shipped("head"):
        with Weightless():
            model = assemble.segmenter(described(name), 2)
        yield HeadRow(name, said("head", name), sum(p.numel() for p in model.heads.parameters()))


@functools.cache
def described(head: str) -> dict[str, Any]:
    values: dict[str, Any] = config.plain(config.compose("describe", [f"head={head}", "backbone.weights=none"]))
    return values


def said(group: str, name: str) -> str:
    """What an option's YAML says of itself."""
    return first_comment(config.conf_dir() / group / f"{name}.yaml")
