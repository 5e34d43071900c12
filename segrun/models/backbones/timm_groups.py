"""timm's groups of layers as paths of modules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn


def stages_of(network: Any, prefix: str, word: str) -> dict[str, list[str]]:
    """Stage name → paths of its modules and single parameters, input side first.

    Args:
        network: A network of timm's, which publishes the order of its layers (`group_matcher`).
        prefix: Put in front of each path, with its final dot.
        word: What the stages behind the stem are called: word1, word2, …
    """
    from timm.models import group_parameters

    group_of = group_parameters(network, network.group_matcher(coarse=True), reverse=True)
    stages = {}
    for index, group in enumerate(sorted(set(group_of.values()))):
        name = f"{word}{index}" if index else "stem"
        stages[name] = [prefix + path for path in minimal_paths(network, group_of, group)]
    return stages


def minimal_paths(network: nn.Module, group_of: Mapping[str, int], group: int, path: str = "") -> list[str]:
    """The fewest paths of modules and single parameters that hold exactly the parameters of one group.

    Args:
        network: The whole network.
        group_of: Parameter name → group.
        group: The group.
        path: Where to look.
    """
    prefix = f"{path}." if path else ""
    groups_inside = {group_of[name] for name in group_of if name.startswith(prefix)}
    if group not in groups_inside:
        return []
    if groups_inside == {group} and path:
        return [path]
    module = network.get_submodule(path)
    paths = []
    for name, _ in module.named_parameters(recurse=False):
        if group_of[prefix + name] == group:
            paths.append(prefix + name)
    for name, _ in module.named_children():
        paths += minimal_paths(network, group_of, group, prefix + name)
    return paths
