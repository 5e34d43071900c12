"""Backbones and heads as tables, for the terminal and for the README."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table

from segrun.models.backbones.backbone import Level
from segrun.models.parts import Parts


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


@dataclass(frozen=True)
class Cost:
    """Of one image. operations: multiply-adds, by part; activations: bytes kept for the backward pass in fp32;
    maps: the shape of each level, and of the output."""

    operations: Mapping[str, int]
    activations: int
    maps: list[tuple[int, ...]]


def backbone_table(rows: Sequence[BackboneRow], here: bool) -> Table:
    """here: also where the weights are on this machine."""
    table = Table(title="backbones", title_justify="left")
    table.add_column("backbone", no_wrap=True)
    table.add_column("what")
    table.add_column("parameters", justify="right")
    table.add_column("strides")
    table.add_column("channels")
    if here:
        table.add_column("imagenet weights")
    table.add_column("heads")
    for row in rows:
        strides = " ".join(str(level.stride) for level in row.levels)
        channels = " ".join(str(level.channels) for level in row.levels)
        fits = f"all but {', '.join(row.unfit)}" if row.unfit else "all"
        where = (row.weights,) if here else ()
        table.add_row(row.name, row.said, millions(row.parameters), strides, channels, *where, fits)
    return table


def head_table(rows: Sequence[HeadRow]) -> Table:
    table = Table(title="heads", title_justify="left")
    table.add_column("head", no_wrap=True)
    table.add_column("what")
    table.add_column("parameters on mobilenet_v2", justify="right")
    for row in rows:
        table.add_row(row.name, row.said, millions(row.parameters))
    return table


def millions(count: float) -> str:
    """12,345,678 → 12.3 M"""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f}"


def markdown(table: Table) -> str:
    rows = [[str(column.header) for column in table.columns], ["---"] * len(table.columns)]
    rows += [list(cells) for cells in zip(*(column.cells for column in table.columns), strict=True)]  # type: ignore[arg-type]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)


def part_table(parts: Parts, cost: Cost) -> Table:
    table = Table("part", title="parts", title_justify="left")
    for column in ("parameters", "multiply-adds"):
        table.add_column(column, justify="right")
    for part in parts.values():
        table.add_row(part.name, f"{part.size:,}", millions(cost.operations[part.name]))
    table.add_section()
    total = sum(part.size for part in parts.values())
    table.add_row("all", f"{total:,}", millions(sum(cost.operations.values())))
    return table


def cost_lines(parts: Parts, cost: Cost, batch: int, size: Sequence[int]) -> list[str]:
    """What the model gives, and what it needs, in fp32 with AdamW."""
    *levels, output = ("×".join(map(str, shape)) for shape in cost.maps)
    weights = 4 * sum(part.size for part in parts.values())
    training = 4 * weights + batch * cost.activations  # weights, gradients, two moments
    return [
        f"image {size[0]}×{size[1]} → maps {', '.join(levels)} → output {output}",
        f"memory: weights {weights / 2**20:.0f} MiB; training on {batch} images {training / 2**30:.1f} GiB or more "
        f"({cost.activations / 2**20:.0f} MiB an image, the rest weights, gradients and AdamW's moments)",
    ]
