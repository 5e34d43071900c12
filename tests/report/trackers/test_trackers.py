"""Trackers on their own: starting, failing, closing; their settings and the names of their numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from segrun.config.build import build
from segrun.errors import Interrupted, RequestError, SegrunError
from segrun.events import Event, PhaseEnded
from segrun.report.trackers.scalars import flat_scalars
from segrun.report.trackers.trackers import open_trackers


class RecordingTracker:
    def __init__(self) -> None:
        self.calls: list[object] = []

    def __call__(self, argument: object) -> Any:
        self.calls.append(argument)
        return self

    close = __call__


EVENT: Event = PhaseEnded("all", audited_tensors=0)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (SegrunError, "failed"),
        (RuntimeError, "failed"),
        (Interrupted, "interrupted"),
        (KeyboardInterrupt, "interrupted"),
    ],
)
def test_a_tracker_is_told_how_the_run_ended(error: type[BaseException], status: str, tmp_path: Path) -> None:
    recorder = RecordingTracker()
    with pytest.raises(error), open_trackers({"recorder": recorder}, tmp_path) as (observer,):
        observer(EVENT)
        raise error
    assert recorder.calls == [tmp_path, EVENT, status]


def test_a_tracker_that_cannot_begin_stops_the_run_and_ends_the_others(tmp_path: Path) -> None:
    def gone(folder: Path) -> Any:
        raise ConnectionError("no such host")

    recorder = RecordingTracker()
    refusal = (
        r"^tracker gone cannot start: ConnectionError: no such host\.\n"
        r"Change tracker\.gone\.…, or leave out this tracker\.$"
    )
    with pytest.raises(RequestError, match=refusal), open_trackers({"recorder": recorder, "gone": gone}, tmp_path):
        raise AssertionError("begun")
    assert recorder.calls == [tmp_path, "failed"]


@pytest.mark.parametrize(
    ("tracker", "settings", "key"),
    [
        ("wandb.WeightsAndBiases", {"project": "p", "entity": None, "group": None, "mode": None}, "finish_timeout"),
        ("mlflow.MLflow", {"tracking_uri": None, "experiment": "e"}, "retries"),
    ],
)
@pytest.mark.parametrize("value", [-1, 1e30, float("nan"), float("inf"), "abc", None, [], True])
def test_numbers_out_of_range_are_refused(tracker: str, settings: dict[str, Any], key: str, value: object) -> None:
    config = {"_target_": f"segrun.report.trackers.{tracker}", **settings, key: value}
    with pytest.raises(RequestError, match=rf"^tracker\.mine\.{key}=.*: must be a (whole )?number from 0 to "):
        build(config, "tracker.mine")


def test_names_are_such_that_every_tracker_takes_them_and_none_is_lost() -> None:
    ious = {"a (b)": 0.1, "a +b+": 0.2, "road/path": 0.3, "空": 0.4, "none": None, "best": True, "word": "x"}
    assert flat_scalars({"val": {"iou": ious, "miou": 0.5}}) == {
        "val/iou/a__b_": 0.1, "val/iou/a__b__": 0.2, "val/iou/road_path": 0.3, "val/iou/空": 0.4, "val/miou": 0.5,
    }  # fmt: skip


def test_names_that_are_too_long_for_a_tracker_are_shortened_and_stay_apart() -> None:
    first, second = flat_scalars({"iou": {"空" * 300 + "a": 0.1, "空" * 300 + "b": 0.2}})
    assert first[:70] == second[:70] == "iou/" + "空" * 66 and first != second
    assert max(len(name.encode()) for name in (first, second)) <= 240
