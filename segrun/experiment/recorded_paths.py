"""The files that a checkpoint's config makes a command read: printed before they are opened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from segrun.config.keys import flatten, keys_that
from segrun.errors import RequestError
from segrun.report.terminal import print_line

PATH_NAMES = frozenset(key.rpartition(".")[2] for key in keys_that("path"))


def print_paths(values: Mapping[str, Any], *groups: str) -> None:
    """Print the paths that a checkpoint's config names.

    Args:
        values: The config.
        groups: Those that are read, such as "dataset".

    Raises:
        RequestError: One of them is an address and no path.
    """
    for key, path in recorded_paths({group: values.get(group) for group in groups}):
        if "://" in path or path.lower().startswith("/vsi"):  # GDAL's names of addresses begin so
            raise RequestError(
                f"{key}={path}: the checkpoint names an address, and only folders and files of this machine are read. "
                "Score it on data of your own: segrun eval checkpoint=… dataset=…"
            )
        print_line(f"the checkpoint names {key}={path}, which is read")


def recorded_paths(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The paths in a config, with their keys."""
    for key, value in flatten(values):
        if isinstance(value, str) and not PATH_NAMES.isdisjoint(key.split(".")[1:]):
            yield key, value
