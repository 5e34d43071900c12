"""The learning-rate curve of each epoch: one over the whole run, or a new one where a phase restarts the schedule."""

from __future__ import annotations

from segrun.engine.recipe import Segment, epoch_segments
from segrun.transfer.plan import Phase, Plan


def test_a_phase_that_continues_shares_its_curve_and_one_that_restarts_begins_another() -> None:
    phases = (Phase("a", 1, {}), Phase("b", 2, {}), Phase("c", 2, {}, schedule="restart"))
    first, second = Segment(0, 0, 9), Segment(1, 9, 8)
    assert epoch_segments(Plan(phases), [3, 3, 3, 4, 4]) == [first, first, first, second, second]


def test_a_restart_of_the_first_phase_changes_nothing() -> None:
    phases = (Phase("a", 1, {}, schedule="restart"), Phase("b", 1, {}))
    assert epoch_segments(Plan(phases), [5, 6]) == [Segment(0, 0, 11)] * 2
