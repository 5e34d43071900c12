"""Which of a backbone's levels a head uses."""

from __future__ import annotations

from collections.abc import Sequence

from segrun.errors import RequestError
from segrun.models.backbones.backbone import Level, deepest


class LacksLevel(RequestError):
    """The backbone has no feature map at a stride that the head needs."""


def level_at(levels: Sequence[Level], stride: int, head: str) -> int:
    """The index of the deepest level of a stride.

    Args:
        levels: The backbone's.
        stride: The stride.
        head: The head's name, for the message.

    Raises:
        LacksLevel: The backbone has no such level. The message names its strides.
    """
    for index in reversed(range(len(levels))):
        if levels[index].stride == stride:
            return index
    strides = ", ".join(str(level.stride) for level in levels)
    raise LacksLevel(f"head={head} needs a feature map at stride {stride}; this backbone has strides {strides}.")


def levels_from_stride(levels: Sequence[Level], stride: int = 4) -> tuple[int, ...]:
    """The index of the deepest level of each stride from `stride` on; of every stride, where none is so large.

    Args:
        levels: The backbone's.
        stride: Smallest stride.
    """
    indices = deepest(levels)
    coarse = [index for index in indices if levels[index].stride >= stride]
    return tuple(coarse or indices)
