"""A scan counts pixels, names every kind of damage, and is cached."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segrun.data.scan import scan
from segrun.data.scan.cache import SCALARS, cache_folder
from segrun.data.scan.fingerprint import reading_fingerprint
from segrun.data.scan.inspect_sample import inspect_sample
from segrun.data.scan.record import ImageRecord
from segrun.data.scan.scan import scan_all, scan_dataset
from segrun.data.sets.folder import Folder
from segrun.data.sets.shapes import Shapes
from segrun.errors import DataError
from segrun.types import VOID

Writer = Callable[..., Path]


def opened(root: Path) -> Folder:
    return Folder(str(root), ["ground", "square"], "index", 255, allow_unpaired=False)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEGRUN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "scan.sqlite"


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def spoil(root: Path, name: str, how: str) -> str:
    """Damages one pair; what the message must say."""
    image, mask = root / "images" / f"{name}.png", root / "masks" / f"{name}.png"
    if how == "truncated":
        truncate(image)
        return rf"images/{name}\.png: cannot be read"
    if how == "corrupt":
        mask.write_bytes(b"this is no image")
        return rf"masks/{name}\.png: cannot be read"
    if how == "off-size":
        Image.fromarray(np.zeros((47, 64), np.uint8)).save(mask)
        return f"{name}: the image is 64×48, its mask 64×47"
    Image.fromarray(np.full((48, 64), 7, np.uint8)).save(mask)
    return rf"masks/{name}\.png: values outside the 2 classes: 7 \(3072 pixels\)"


def test_pixels_are_counted_by_class_without_void(folder_data: Writer) -> None:
    root = folder_data(5)
    Image.fromarray(np.array([[0, 1, 1, 255]], np.uint8)).resize((64, 48), 0).save(root / "masks" / "p02.png")
    data = opened(root)
    result = scan_dataset(data, tuple(data.pairs))
    assert result.names == ("p00", "p01", "p02", "p03", "p04") and set(result.sizes) == {(48, 64)}
    assert result.pixel_counts[2].tolist() == [768, 1536] and result.pixel_counts[0].tolist() == [48 * 64 - 400, 400]


def test_counts_are_those_of_the_masks_one_by_one() -> None:
    data = Shapes(40, train=6, val=1, test=1, objects=4, seed=2)
    result = scan_dataset(data, data.splits["train"])
    for name, row in zip(result.names, result.pixel_counts, strict=True):
        assert row.tolist() == [int((data.mask(name) == c).sum()) for c in range(6)]


def test_a_subset_of_a_scan_keeps_names_and_rows_together() -> None:
    data = Shapes(40, train=4, val=1, test=1, objects=4, seed=2)
    result = scan_dataset(data, data.splits["train"])
    part = result.subset(["train-003", "train-001"])
    assert part.names == ("train-003", "train-001")
    assert torch.equal(part.pixel_counts, result.pixel_counts[[3, 1]]) and len(part.sizes) == 2


def test_every_image_advances_once_also_a_damaged_one(folder_data: Writer) -> None:
    root = folder_data(5)
    data, steps = opened(root), []
    spoil(root, "p02", "truncated")
    with pytest.raises(DataError):
        scan_dataset(data, tuple(data.pairs), steps.append)
    assert steps == [1] * 5


@pytest.mark.parametrize("how", ["truncated", "corrupt", "off-size", "off-value"])
def test_each_kind_of_damage_is_named(how: str, folder_data: Writer) -> None:
    root = folder_data(5)
    message = spoil(root, "p03", how)
    data = opened(root)
    with pytest.raises(DataError, match=message):
        scan_dataset(data, tuple(data.pairs))


def test_several_damaged_files_are_named_together(folder_data: Writer) -> None:
    root = folder_data(6)
    messages = [spoil(root, name, how) for name, how in (("p01", "truncated"), ("p02", "corrupt"), ("p04", "off-size"))]
    data = opened(root)
    with pytest.raises(DataError, match="(?s)" + ".*\n.*".join(messages) + ".{0,3}$"):
        scan_dataset(data, tuple(data.pairs))


def test_many_damaged_files_are_named_in_part_and_counted(folder_data: Writer) -> None:
    root = folder_data(9)
    for index in range(2, 7):
        spoil(root, f"p{index:02}", "off-value")
    data = opened(root)
    with pytest.raises(DataError, match=r"(?s)p02\.png.*p03\.png.*p04\.png.*… and 2 more of 9 files"):
        scan_dataset(data, tuple(data.pairs))


def test_a_mask_all_void_counts_nothing(folder_data: Writer) -> None:
    root = folder_data(3)
    Image.fromarray(np.full((48, 64), VOID, np.uint8)).save(root / "masks" / "p01.png")
    data = opened(root)
    assert scan_dataset(data, ("p01",)).pixel_counts.tolist() == [[0, 0]]


def test_no_image_at_all_is_refused(folder_data: Writer) -> None:
    with pytest.raises(DataError, match="holds no image"):
        scan_dataset(opened(folder_data(3)), ())


def inspected_again(root: Path, monkeypatch: pytest.MonkeyPatch, **settings: int) -> list[str]:
    """The images that a scan of a fresh data set inspects."""
    inspected: list[str] = []

    def inspect_sample(data: Folder, name: str) -> ImageRecord:
        inspected.append(name)
        return real(data, name)

    real = scan.inspect_sample
    with monkeypatch.context() as patch:
        patch.setattr(scan, "inspect_sample", inspect_sample)
        data = opened(root)
        for key, value in settings.items():
            setattr(data, key, value)
        scan_all(data, data.names)
    return sorted(inspected)


def test_what_was_inspected_is_not_read_again_and_is_the_same(
    folder_data: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder_data(6)
    spoil(root, "p04", "truncated")
    data = opened(root)
    first = scan_all(data, data.names)
    assert inspected_again(root, monkeypatch) == []
    again = scan_all(data, data.names)
    assert first.names == again.names
    for one, other in zip(first.records, again.records, strict=True):
        assert np.array_equal(one.class_counts, other.class_counts)
        scalars = [(getattr(one, key), getattr(other, key)) for key in SCALARS]
        assert all(str(a) == str(b) for a, b in scalars)  # NaN is equal to NaN


@pytest.mark.parametrize("which", ["images", "masks"])
def test_a_changed_file_is_inspected_again(folder_data: Writer, which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder_data(5)
    assert len(inspected_again(root, monkeypatch)) == 5
    path = root / which / "p02.png"
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1))
    assert inspected_again(root, monkeypatch) == ["p02"]
    assert inspected_again(root, monkeypatch) == []


def test_other_settings_inspect_again(folder_data: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder_data(5)
    for settings in ({}, {"ignore_index": 254}, {"channels": 1}):
        assert len(inspected_again(root, monkeypatch, **settings)) == 5
        assert inspected_again(root, monkeypatch, **settings) == []


def test_two_data_sets_of_equal_settings_are_read_alike_in_every_process(folder_data: Writer) -> None:
    root = folder_data(3)
    assert (
        reading_fingerprint(opened(root))
        == reading_fingerprint(opened(root))
        != reading_fingerprint(opened(folder_data(3, root="other")))
    )


@pytest.mark.parametrize("how", ["a file in its place", "no database"])
def test_a_cache_that_cannot_be_used_costs_no_run(
    how: str, folder_data: Writer, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = opened(folder_data(4))
    folder = elsewhere / "spoilt"
    if how == "no database":
        folder.mkdir()
        (folder / "scan.sqlite").write_bytes(b"this is no database" * 100)
    else:
        folder.write_text("")
    monkeypatch.setenv("SEGRUN_CACHE", str(folder))
    result = scan_dataset(data, data.names)
    assert len(result.names) == 4 and "is not cached there" in result.notes[0] and "SEGRUN_CACHE" in result.notes[0]


def test_a_cache_that_another_process_holds_costs_no_run(
    folder_data: Writer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = opened(folder_data(4))
    scan_dataset(data, data.names)
    monkeypatch.setattr("segrun.data.scan.cache.TIMEOUT", 0.05)
    other = sqlite3.connect(cache)
    other.execute("BEGIN EXCLUSIVE")
    result = scan_dataset(data, data.names)
    other.close()
    assert len(result.names) == 4 and result.notes


def test_an_interrupted_scan_keeps_what_it_has(folder_data: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder_data(8)
    data, steps = opened(root), []

    def stop_after_three(done: int) -> None:
        steps.append(done)
        if len(steps) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan_all(data, data.names, stop_after_three)
    assert len(inspected_again(root, monkeypatch)) == 5


@pytest.mark.parametrize("patience", [0.0, 60.0])
def test_other_processes_see_the_same(folder_data: Writer, patience: float, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder_data(2 * scan.CHUNK + 3)
    spoil(root, "p05", "truncated")
    monkeypatch.setattr(scan, "SINGLE_PROCESS_SECONDS", patience)
    data = opened(root)
    result = list(scan.inspect_samples(data, data.names))
    assert [name for name, _ in result] == list(data.names)
    for name, record in result:
        expected = inspect_sample(data, name)
        assert all(str(getattr(record, key)) == str(getattr(expected, key)) for key in SCALARS)
        assert np.array_equal(record.class_counts, expected.class_counts)


@pytest.mark.parametrize("patience", [0.0, 60.0])
def test_a_scan_draws_none_of_the_trainings_random_numbers(patience: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "SINGLE_PROCESS_SECONDS", patience)
    data, before = Shapes(32, train=20, val=0, test=0, objects=2, seed=0), torch.get_rng_state()
    list(scan.inspect_samples(data, data.names))
    assert torch.equal(torch.get_rng_state(), before)


class Deadly(Shapes):
    """Its second image kills the process that reads it, as a decoder with a fault or the kernel does."""

    def image(self, name: str) -> torch.Tensor:
        if name == self.names[1]:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().image(name)


def test_a_process_that_dies_is_reported_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "SINGLE_PROCESS_SECONDS", 0.0)
    data = Deadly(32, train=20, val=0, test=0, objects=2, seed=0)
    with pytest.raises(DataError, match=r"a process that reads images died.*train-001"):
        list(scan.inspect_samples(data, data.names))


def test_the_cache_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder().name == "cache"
    monkeypatch.delenv("SEGRUN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/shared")
    assert cache_folder() == Path("/shared/segrun")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "segrun"


def test_blank_images_are_no_copies_of_each_other(folder_data: Writer) -> None:
    root = folder_data(5)
    for name in ("p01", "p03"):
        Image.fromarray(np.full((48, 64, 3), 7, np.uint8)).save(root / "images" / f"{name}.png")
    (root / "images" / "p04.png").write_bytes((root / "images" / "p02.png").read_bytes())
    data = opened(root)
    digests = dict(zip(data.names, scan_dataset(data, data.names).digests, strict=True))
    assert digests["p01"] != digests["p03"] and digests["p02"] == digests["p04"]
