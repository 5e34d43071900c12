"""Numbers as text."""

from __future__ import annotations

import pytest

from segrun.report.formats import percent, with_unit_prefix


@pytest.mark.parametrize(("value", "text"), [(0.1234, "12.3"), (None, "–"), (float("nan"), "–"), (1, "100.0")])
def test_percent(value: float | None, text: str) -> None:
    assert percent(value) == text


@pytest.mark.parametrize(("count", "text"), [(12_345_678, "12.3 M"), (999, "999"), (1500, "1.5 k"), (2e9, "2.0 G")])
def test_unit_prefixes(count: float, text: str) -> None:
    assert with_unit_prefix(count) == text
