"""`segrun models`: the backbones and heads there are, and which fit each other."""

from __future__ import annotations

import contextlib
import fnmatch
from collections.abc import Iterator

from segrun.config.build import build
from segrun.config.compose import Config, compose, conf_dir, option_names, to_dict
from segrun.config.help import first_comment
from segrun.errors import MissingExtraError, RequestError, join_names, suggest
from segrun.experiment import assemble
from segrun.models.backbones.backbone import Backbone, Weightless
from segrun.models.weights.sources import whereabouts
from segrun.report.models import BackboneRow, HeadRow, backbone_table, head_table, markdown
from segrun.report.terminal import console, counting


def run(cfg: Config) -> None:
    if cfg.format not in ("table", "markdown"):
        raise RequestError(f"format={cfg.format}: choose table or markdown.")
    names = [name for name in option_names("backbone") if fnmatch.fnmatch(name, cfg.name)]
    if not names:
        raise RequestError(f"name={cfg.name}: no such backbone. {suggest(cfg.name, option_names('backbone'))}")
    with counting("measuring", len(names)) as advance:
        rows = []
        for name in names:
            with contextlib.suppress(MissingExtraError):  # told below
                rows.append(backbone(name))
            advance(1)
    if cfg.format == "markdown":
        print("\n\n".join(markdown(table) for table in (backbone_table(rows, here=False), head_table(list(heads())))))
        return
    out = console()
    out.print(backbone_table(rows, here=True))
    out.print(head_table(list(heads())))
    if absent := sorted(set(names) - {row.name for row in rows}):
        out.print(f"not shown, since their library is not installed: {join_names(absent)}", highlight=False)
    out.print("and any of timm's networks (extra timm): backbone=timm backbone.name=<name>", highlight=False)


def backbone(name: str) -> BackboneRow:
    values = to_dict(compose("describe", [f"backbone={name}", "backbone.weights=none"]))
    with Weightless():
        made: Backbone = build(values["backbone"], "backbone")
        unfit = {head: why for head, why in assemble.fitting(made.levels).items() if why is not None}
    size = sum(p.numel() for p in made.parameters())
    where = whereabouts(*made.published) if made.published else "–"
    return BackboneRow(name, said("backbone", name).rpartition(", ")[0], size, made.levels, where, unfit)


def heads() -> Iterator[HeadRow]:
    for name in option_names("head"):
        with Weightless():
            model = assemble.segmenter(assemble.described(name), 2)
        yield HeadRow(name, said("head", name), sum(p.numel() for p in model.heads.parameters()))


def said(group: str, name: str) -> str:
    """What an option's YAML says of itself."""
    return first_comment(conf_dir() / group / f"{name}.yaml")
