"""Backbones and heads as tables, for the terminal and for the README; a model's parts and cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table

from segrun.models.backbones.backbone import Level
from segrun.models.parts import Parts
from segrun.report.formats import with_unit_prefix

BYTES_PER_VALUE = 4  # fp32
TRAINING_COPIES = 4  # of each weight: the weight, its gradient, and AdamW's two moments


@dataclass(frozen=True)
class BackboneRow:
    """A backbone in a table.

    Attributes:
        name: The option's name.
        description: The first line of its YAML.
        parameters: Number of parameters.
        levels: Channels and stride of its feature maps.
        weights: Where its pretrained weights would come from on this machine.
        incompatible_heads: The heads that it lacks feature maps for, with the reasons.
    """

    name: str
    description: str
    parameters: int
    levels: tuple[Level, ...]
    weights: str
    incompatible_heads: Mapping[str, str]


@dataclass(frozen=True)
class HeadRow:
    """A head in a table. `parameters` is their number on mobilenet_v2, for two classes."""

    name: str
    description: str
    parameters: int


@dataclass(frozen=True)
class Cost:
    """The cost of a forward pass, per image.

    Attributes:
        operations: Multiply-adds by part.
        activations: Bytes that are kept for the backward pass, in fp32.
        shapes: The shape (C, H, W) of each feature map, and of the output.
    """

    operations: Mapping[str, int]
    activations: int
    shapes: Sequence[tuple[int, ...]]


def backbone_table(rows: Sequence[BackboneRow], with_weights: bool) -> Table:
    """The backbones, one per row.

    Args:
        rows: The backbones.
        with_weights: Whether to show where the weights are on this machine.
    """
    table = Table(title="backbones", title_justify="left")
    table.add_column("backbone", no_wrap=True)
    table.add_column("description")
    table.add_column("parameters", justify="right")
    table.add_column("strides")
    table.add_column("channels")
    if with_weights:
        table.add_column("imagenet weights")
    table.add_column("heads")
    for row in rows:
        strides = " ".join(str(level.stride) for level in row.levels)
        channels = " ".join(str(level.channels) for level in row.levels)
        cells = [row.name, row.description, with_unit_prefix(row.parameters), strides, channels]
        if with_weights:
            cells.append(row.weights)
        cells.append(f"all but {', '.join(row.incompatible_heads)}" if row.incompatible_heads else "all")
        table.add_row(*cells)
    return table


def head_table(rows: Sequence[HeadRow]) -> Table:
    """The heads, one per row."""
    table = Table(title="heads", title_justify="left")
    table.add_column("head", no_wrap=True)
    table.add_column("description")
    table.add_column("parameters on mobilenet_v2", justify="right")
    for row in rows:
        table.add_row(row.name, row.description, with_unit_prefix(row.parameters))
    return table


def to_markdown(table: Table) -> str:
    """A table of the terminal as Markdown."""
    columns = [[str(column.header), "---", *(str(cell) for cell in column.cells)] for column in table.columns]
    return "\n".join(f"| {' | '.join(row)} |" for row in zip(*columns, strict=True))


def part_table(parts: Parts, cost: Cost) -> Table:
    """Parameters and multiply-adds of each part."""
    table = Table("part", title="parts", title_justify="left")
    for column in ("parameters", "multiply-adds"):
        table.add_column(column, justify="right")
    for part in parts.values():
        table.add_row(part.name, f"{part.size:,}", with_unit_prefix(cost.operations[part.name]))
    table.add_section()
    total = sum(part.size for part in parts.values())
    table.add_row("all", f"{total:,}", with_unit_prefix(sum(cost.operations.values())))
    return table


def cost_lines(parts: Parts, cost: Cost, batch_size: int, image_size: Sequence[int]) -> list[str]:
    """The shapes of the model's outputs, and the memory it needs in fp32 with AdamW.

    Args:
        parts: The model's parts.
        cost: Of one image.
        batch_size: Images per batch in training.
        image_size: (height, width).
    """
    *level_shapes, output_shape = ("×".join(str(size) for size in shape) for shape in cost.shapes)
    weights = BYTES_PER_VALUE * sum(part.size for part in parts.values())
    training = TRAINING_COPIES * weights + batch_size * cost.activations
    return [
        f"image {image_size[0]}×{image_size[1]} → maps {', '.join(level_shapes)} → output {output_shape}",
        f"memory: weights {weights / 2**20:.0f} MiB; training on {batch_size} images at least "
        f"{training / 2**30:.1f} GiB ({cost.activations / 2**20:.0f} MiB of activations per image; the rest is "
        "weights, gradients and AdamW's moments)",
    ]
