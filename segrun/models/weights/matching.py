"""Which tensor of a weights file belongs to which tensor of a network, whatever wrapper the names stand in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

AVERAGES = ("teacher", "ema", "average")  # words in the names of weights that were averaged over training


@dataclass(frozen=True)
class NameMatch:
    """How the names of a network and of a file correspond.

    Attributes:
        files: The network's tensor names and the file's names for them. A name of the file may not exist.
        prefix: What the file's names begin with.
        children: The first words of the network's names behind the prefix.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    prefix: str = ""
    children: frozenset[str] = frozenset()

    def covers(self, name: str) -> bool:
        """Whether a name of the file belongs to a part that the network has."""
        return name.startswith(self.prefix) and name.removeprefix(self.prefix).partition(".")[0] in self.children


class _Rank(NamedTuple):
    """How well a prefix of the file agrees with the network; compared in this order."""

    same_shape: int  # values in tensors of the same name and shape
    same_name: int  # values in tensors of the same name and number of dimensions
    averaged: bool


def match_names(state: Mapping[str, Tensor], network: Mapping[str, Tensor]) -> NameMatch:
    """The prefix of the file whose names agree with the network on most values.

    Both sides may stand under a root of their own, such as `teacher.module.backbone.` in the file and `features.` in
    the network. Tensors of the same shape count first. Among equal prefixes the first in the file is taken, but a
    teacher or a moving average goes before the weights that it was averaged from.

    Args:
        state: The file's tensors.
        network: The network's tensors.
    """
    best_rank, best = _Rank(0, 0, False), NameMatch()
    for root in _roots(network):
        names = {name.removeprefix(root): name for name in network}
        for prefix, rank in _ranks(state, network, names):
            if rank > best_rank:
                files = {name: prefix + short for short, name in names.items()}
                best_rank, best = rank, NameMatch(files, prefix, frozenset(short.partition(".")[0] for short in names))
    return best


def _roots(network: Mapping[str, Tensor]) -> list[str]:
    """ "" and, where all names of the network begin with the same word, that word."""
    first_words = {name.partition(".")[0] for name in network}
    return ["", f"{first_words.pop()}."] if len(first_words) == 1 else [""]


def _ranks(
    state: Mapping[str, Tensor], network: Mapping[str, Tensor], names: Mapping[str, str]
) -> Iterator[tuple[str, _Rank]]:
    """Each prefix in the file, in the file's order, with its rank. names: without the root → in the network."""
    same_shape: Counter[str] = Counter()
    same_name: Counter[str] = Counter()
    for key, value in state.items():
        for prefix, rest in _splits(key):
            name = names.get(rest)
            if name is None or network[name].ndim != value.ndim:
                continue
            if network[name].shape == value.shape:
                same_shape[prefix] += value.numel()
            same_name[prefix] += min(network[name].numel(), value.numel()) or 1
    for prefix in same_name:
        averaged = any(word in prefix for word in AVERAGES)
        yield prefix, _Rank(same_shape[prefix], same_name[prefix], averaged)


def _splits(key: str) -> Iterator[tuple[str, str]]:
    """`a.b.c` → ("", "a.b.c"), ("a.", "b.c"), ("a.b.", "c")."""
    yield "", key
    for index, letter in enumerate(key):
        if letter == ".":
            yield key[: index + 1], key[index + 1 :]
