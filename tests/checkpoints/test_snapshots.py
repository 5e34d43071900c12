"""Snapshots: stored once, read back bit for bit, never made again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from segrun.checkpoints.snapshots import Snapshots, Weights
from segrun.errors import SegrunError


def never() -> Weights:
    raise AssertionError("made again")


def test_what_was_made_once_is_read_by_the_next_process_and_not_made_again(elsewhere: Path) -> None:
    made = Snapshots(elsewhere / "kept").get_or_create("start", lambda: {"a": torch.randn(3)})
    assert torch.equal(Snapshots(elsewhere / "kept").get_or_create("start", never)["a"], made["a"])
    assert [path.name for path in (elsewhere / "kept").iterdir()] == ["start.pt"]


def test_a_snapshot_does_not_follow_the_weights_it_was_made_of() -> None:
    weight = torch.nn.Parameter(torch.zeros(2))
    kept = Snapshots().get_or_create("start", lambda: {"a": weight})
    with torch.no_grad():
        weight.add_(1)
    assert kept["a"].tolist() == [0, 0] and not kept["a"].requires_grad
    assert Snapshots().get_or_create("start", lambda: {"a": weight})["a"].tolist() == [1, 1]


def test_each_name_is_a_snapshot_of_its_own() -> None:
    snapshots = Snapshots()
    found = [
        snapshots.get_or_create(name, lambda v=value: {"a": torch.tensor(v)})
        for name, value in (("x", 1.0), ("y", 2.0))
    ]
    assert [float(each["a"]) for each in found] == [1.0, 2.0]


def test_a_process_that_does_not_write_reads_what_another_has_written(elsewhere: Path) -> None:
    other = Snapshots(elsewhere / "kept", writes=False)
    assert float(other.get_or_create("mine", lambda: {"a": torch.tensor(1.0)})["a"]) == 1.0
    assert not (elsewhere / "kept").exists()
    Snapshots(elsewhere / "kept").get_or_create("start", lambda: {"a": torch.tensor(2.0)})
    assert float(other.get_or_create("start", never)["a"]) == 2.0


def test_a_truncated_file_is_an_error_that_names_it(elsewhere: Path) -> None:
    Snapshots(elsewhere).get_or_create("start", lambda: {"a": torch.randn(1000)})
    path = elsewhere / "start.pt"
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(SegrunError, match=r"start\.pt: cannot be read.*Start a new run") as told:
        Snapshots(elsewhere).get_or_create("start", never)
    assert len(str(told.value).splitlines()) == 1


def test_what_was_stored_once_and_is_gone_is_an_error_and_not_made_again(elsewhere: Path) -> None:
    Snapshots(elsewhere / "kept").get_or_create("start", lambda: {"a": torch.zeros(1)})
    assert Snapshots(elsewhere / "kept").get_or_create("start")["a"].tolist() == [0]
    (elsewhere / "kept" / "start.pt").unlink()
    with pytest.raises(SegrunError, match=r"start\.pt is gone"):
        Snapshots(elsewhere / "kept").get_or_create("start")


def test_a_write_that_fails_leaves_no_half_file(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(content: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(OSError, match="disk full"):
        Snapshots(elsewhere / "kept").get_or_create("start", lambda: {"a": torch.zeros(1)})
    assert list((elsewhere / "kept").iterdir()) == []


def test_a_new_run_removes_what_an_older_one_left(elsewhere: Path) -> None:
    Snapshots(elsewhere / "kept").get_or_create("start", lambda: {"a": torch.zeros(1)})
    Snapshots(elsewhere / "kept").remove()
    Snapshots(elsewhere / "kept").remove()
    assert not (elsewhere / "kept").exists()
