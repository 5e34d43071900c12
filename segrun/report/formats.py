"""Numbers as text."""

from __future__ import annotations

import math


def percent(value: float | None) -> str:
    """A fraction in percent: 0.1234 → 12.3; a dash for None and NaN."""
    return "–" if value is None or math.isnan(value) else f"{100 * value:.1f}"


def with_unit_prefix(count: float) -> str:
    """12,345,678 → 12.3 M"""
    for prefix, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {prefix}"
    return f"{count:.0f}"
