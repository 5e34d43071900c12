"""`segrun models`: the backbones and heads, and which fit each other."""

from __future__ import annotations

import contextlib
import fnmatch
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from segrun.config.build import to_dataclass
from segrun.config.help import first_comment
from segrun.config.options import conf_dir, option_names
from segrun.errors import MissingExtraError, RequestError, join_names, suggest
from segrun.experiment.catalog import head_parameters, shipped_backbone
from segrun.experiment.fitting_heads import unfit_heads
from segrun.models.weights.fetching import availability
from segrun.report.models import BackboneRow, HeadRow, backbone_table, head_table, to_markdown
from segrun.report.terminal import console, print_line, progress_bar


@dataclass(frozen=True)
class ModelsSettings:
    """Keys of `segrun models`; see conf/models.yaml."""

    name: str
    format: Literal["table", "markdown"]


def run(config: Mapping[str, Any]) -> None:
    """Print the tables.

    Raises:
        RequestError: No backbone has such a name.
    """
    settings = to_dataclass(config, ModelsSettings, "")
    names = [name for name in option_names("backbone") if fnmatch.fnmatch(name, settings.name)]
    if not names:
        raise RequestError(
            f"name={settings.name}: no such backbone. {suggest(settings.name, option_names('backbone'))}"
        )
    rows = []
    with progress_bar("measuring", len(names)) as advance:
        for name in names:
            with contextlib.suppress(MissingExtraError):  # named below
                rows.append(backbone_row(name))
            advance(1)
    if settings.format == "markdown":
        tables = (backbone_table(rows, with_weights=False), head_table(list(head_rows())))
        print("\n\n".join(map(to_markdown, tables)))
        return
    console().print(backbone_table(rows, with_weights=True))
    console().print(head_table(list(head_rows())))
    missing = sorted(set(names) - {row.name for row in rows})
    if missing:
        print_line(f"not shown, because their library is not installed: {join_names(missing)}")
    print_line("and any network of timm (extra timm): backbone=timm backbone.name=<name>")


def backbone_row(name: str) -> BackboneRow:
    """Raises MissingExtraError where the backbone's library is not installed."""
    backbone = shipped_backbone(name)
    parameters = sum(parameter.numel() for parameter in backbone.parameters())
    what = description("backbone", name).rpartition(", ")[0]
    location = availability(backbone.published) if backbone.published else "–"
    return BackboneRow(name, what, parameters, backbone.levels, location, unfit_heads(backbone.levels))


def head_rows() -> Iterator[HeadRow]:
    for name in option_names("head"):
        yield HeadRow(name, description("head", name), head_parameters(name))


def description(group: str, name: str) -> str:
    """The first line of an option's YAML."""
    return first_comment(conf_dir() / group / f"{name}.yaml")
