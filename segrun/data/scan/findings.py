"""What the rules find in a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from segrun.data.scan.settings import Severity

Violation = tuple[Sequence[str], str]  # the images that it concerns, and what is wrong; what a rule yields


@dataclass(frozen=True)
class Finding:
    """A violation of a rule.

    Attributes:
        rule: Name of the rule.
        severity: "error" or "warn".
        names: The images that it concerns; empty if it concerns the whole data set.
        text: What is wrong.
    """

    rule: str
    severity: Severity
    names: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return f"{self.text} [{self.rule}]"


def count_images(count: int) -> str:
    return f"{count} image" if count == 1 else f"{count} images"
