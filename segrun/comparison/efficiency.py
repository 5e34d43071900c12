"""How many labels are worth how many: where one curve of scores over labelled images reaches another's score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segrun.comparison.bootstrap import LEVEL, Floats


@dataclass(frozen=True, eq=False)
class Point:
    """scores: (seeds,) mean IoU; means: (draws,) their mean over seeds and images drawn anew, None of one seed."""

    scores: Floats
    means: Floats | None


Curve = Mapping[int, Point]  # by the number of labelled images


@dataclass(frozen=True)
class Worth:
    """`name` with `labels` images scores as `baseline` does with `same`, in 95 % of the draws with `low` to `high`.

    -inf and inf: with fewer than the fewest, or more than the most images that the baseline was trained on. low and
    high are NaN where there is one seed.
    """

    name: str
    baseline: str
    labels: int
    same: float
    low: float
    high: float
    measured: tuple[int, int]

    def __str__(self) -> str:
        fewest, most = self.measured
        begin = f"{self.name} with {self.labels} labels"
        if np.isinf(self.same):
            return f"{begin}: not reached by {self.baseline} with {most}, the most measured" if self.same > 0 else (
                f"{begin}: below {self.baseline} with {fewest}, the fewest measured"
            )  # fmt: skip
        ends = "" if np.isnan(self.low) else f" ({self._end(self.low)}–{self._end(self.high)})"
        return f"{begin} = {self.baseline} with {self.same:.0f}{ends}"

    def _end(self, value: float) -> str:
        fewest, most = self.measured
        return f"<{fewest}" if value < 0 else f">{most}" if np.isinf(value) else f"{value:.0f}"


def worth(name: str, curve: Curve, baseline: str, base: Curve) -> list[Worth]:
    """What each number of labels of `curve` is worth in labels of `base`, inside of what was measured of that alone."""
    counts = sorted(base)
    points = [base[count] for count in counts]
    scores = np.array([[point.scores.mean()] for point in points])
    drawn = [point.means for point in points if point.means is not None]
    heights = np.stack(drawn) if len(drawn) == len(points) else None
    found = []
    for labels, point in sorted(curve.items()):
        ends = (float("nan"), float("nan"))
        if heights is not None and point.means is not None:
            alike = reached(counts, heights, point.means)
            low, high = np.quantile(alike, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="nearest")
            ends = (float(low), float(high))
        same = float(reached(counts, scores, np.array([point.scores.mean()]))[0])
        found.append(Worth(name, baseline, labels, same, *ends, (counts[0], counts[-1])))
    return found


def reached(counts: Sequence[int], heights: Floats, score: Floats) -> Floats:
    """(draws,) the fewest labels with which a curve reaches `score`: straight between neighbours in the logarithm of
    their labels; -inf where its first point lies above, inf where none reaches it. heights: (points, draws)."""
    at, draws = np.log(counts), np.arange(len(score))
    below = heights < score
    crosses = below[:-1] & ~below[1:]
    left = crosses.argmax(0)
    low, high = heights[left, draws], heights[left + 1, draws]
    there = crosses[left, draws]
    share = np.divide(score - low, high - low, out=np.zeros_like(score), where=there)
    inside = np.where(there, np.exp(at[left] + share * (at[left + 1] - at[left])), np.inf)
    return np.asarray(np.where(heights[0] > score, -np.inf, np.where(heights[0] == score, counts[0], inside)))
