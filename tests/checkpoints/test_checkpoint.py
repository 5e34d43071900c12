"""Checkpoints are whole or not there, and reading one runs nothing."""

from __future__ import annotations

import os
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from segrun.checkpoints.checkpoint import VERSION, Checkpoint, read, write
from segrun.engine.progress import Progress
from segrun.errors import DataError, RequestError
from segrun.files import atomic_write, ensure_dir, write_json, write_text
from segrun.types import ClassMap


class Code:
    """Leaves a folder behind when unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("ran",)


def checkpoint(**changed: Any) -> Checkpoint:
    return Checkpoint(
        **{
            "weights": {
                "mean": torch.zeros(3),
                "conv.weight": torch.arange(6.0).view(2, 3),
                "norm.num_batches_tracked": torch.tensor(7),
            },
            "config": {
                "backbone": {"_target_": "segrun.x.Y", "levels": [1, 2]},
                "head": {},
                "strategy": {},
                "dataset": {"_target_": "segrun.x.Z"},
                "sizing": {},
                "trainer": {"channels_last": "auto"},
                "names": {"head": "unet"},
                "none": None,
            },
            "classes": ClassMap(("sky", "Straße"), ((0, 0, 0), (128, 64, 1))),
            "splits": {"train": ("a", "写真/b"), "val": ("c",)},
            "epoch": 4,
            "score": 0.75,
            **changed,
        }
    )


def same(one: Checkpoint, other: Checkpoint) -> bool:
    for name, value in one.weights.items():
        torch.testing.assert_close(other.weights[name], value, rtol=0, atol=0)
    assert {key: tuple(names) for key, names in one.splits.items()} == {k: tuple(v) for k, v in other.splits.items()}
    keys = ("config", "classes", "epoch", "score", "training")
    return all(getattr(one, key) == getattr(other, key) for key in keys)


def test_a_checkpoint_comes_back_as_it_was_written() -> None:
    write(Path("best.ckpt"), checkpoint())
    assert same(checkpoint(), read("best.ckpt"))


def test_training_state_comes_back_too() -> None:
    training = {
        "progress": asdict(Progress(epoch=2, step=9, best=0.5)),
        "optimizer": {"w": {"step": 3.0}},
        "average": None,
    }
    write(Path("last.ckpt"), checkpoint(training=training))
    back = read("last.ckpt")
    assert same(checkpoint(training=training), back)
    assert back.training is not None
    assert Progress(**back.training["progress"]) == Progress(epoch=2, step=9, best=0.5)


def test_a_run_folder_stands_for_the_checkpoint_in_it() -> None:
    Path("run").mkdir()
    write(Path("run/best.ckpt"), checkpoint(epoch=1))
    write(Path("run/last.ckpt"), checkpoint(epoch=2))
    assert read("run").epoch == 1
    assert read("run", "last.ckpt").epoch == 2


@pytest.mark.parametrize("path", ["nowhere.ckpt", "."])
def test_a_missing_checkpoint_is_named(path: str) -> None:
    with pytest.raises(RequestError, match=r"\.ckpt: there is no such checkpoint"):
        read(path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_truncated_checkpoint_is_refused(share: float) -> None:
    write(Path("best.ckpt"), checkpoint())
    content = Path("best.ckpt").read_bytes()
    Path("best.ckpt").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(
        RequestError, match=r"best\.ckpt: (is damaged or truncated|cannot be read .*\(truncated or no checkpoint\))"
    ):
        read("best.ckpt")


def test_any_flipped_bit_is_refused() -> None:
    write(Path("best.ckpt"), checkpoint())
    content = Path("best.ckpt").read_bytes()
    bits = 8 * len(content)
    for bit in (*range(32), *range(32, bits, 97), *range(bits - 8 * 43, bits, 3)):  # the ends hold what decides
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        Path("damaged.ckpt").write_bytes(damaged)
        with pytest.raises(RequestError, match=r"damaged\.ckpt: (is damaged or truncated|cannot be read)"):
            read("damaged.ckpt")


def test_every_shorter_file_is_refused() -> None:
    write(Path("best.ckpt"), checkpoint())
    content = Path("best.ckpt").read_bytes()
    for length in (*range(0, len(content), 11), *range(len(content) - 43, len(content))):
        Path("short.ckpt").write_bytes(content[:length])
        with pytest.raises(RequestError, match=r"short\.ckpt: (is damaged or truncated|cannot be read)"):
            read("short.ckpt")


def test_a_checkpoint_of_an_older_segrun_has_no_checksum_and_is_read() -> None:
    write(Path("best.ckpt"), checkpoint())
    torch.save(torch.load("best.ckpt", weights_only=True), "old.ckpt")
    assert same(checkpoint(), read("old.ckpt"))


def test_other_programs_read_a_file_with_a_checksum() -> None:
    write(Path("best.ckpt"), checkpoint())
    assert zipfile.ZipFile("best.ckpt").testzip() is None
    assert torch.load("best.ckpt", weights_only=True)["epoch"] == 4


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_that_are_not_finite_are_refused_by_name(value: float, dtype: torch.dtype) -> None:
    weights = dict(checkpoint().weights)
    write(Path("large.ckpt"), checkpoint(weights={**weights, "large": torch.full((9,), torch.finfo(dtype).max)}))
    assert float(read("large.ckpt").weights["large"].max()) == torch.finfo(dtype).max  # only their sum is infinite
    weights["head.bias"] = torch.tensor([1.0, value], dtype=dtype)
    write(Path("last.ckpt"), checkpoint(weights=weights))
    with pytest.raises(DataError) as refused:
        read("last.ckpt")
    assert str(refused.value) == (
        "last.ckpt: the training diverged: the tensor head.bias is not finite. Start a new run with a lower "
        "optimizer.lr."
    )


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("weights.conv.weight", "x", "weights.conv.weight: must be an instance of Tensor, not 'x'"),
        ("weights.mean", None, "weights.mean: must be an instance of Tensor, not None"),
        ("config.trainer", None, "config.trainer: must be a mapping, not None"),
        ("config.dataset._target_", ..., "config.dataset._target_: is missing"),
        ("classes.palette", [[1, 2]], "classes.palette.0: Value should have at least 3 items"),
        ("splits.train", "abc", "splits.train: must be a list, not 'abc'"),
        ("epoch", "4", "epoch: must be an integer, not '4'"),
        ("epoch", ..., "epoch: is missing"),
        ("segrun", "1", "segrun: must be an integer, not '1'"),
    ],
)
def test_a_missing_or_mistyped_key_is_named(key: str, value: Any, message: str) -> None:
    write(Path("best.ckpt"), checkpoint())
    content = torch.load("best.ckpt", weights_only=True)
    group, words = content, key.split(".") if not key.startswith("weights") else key.split(".", 1)
    for word in words[:-1]:
        group = group[word]
    if value is ...:
        del group[words[-1]]
    else:
        group[words[-1]] = value
    torch.save(content, "best.ckpt")
    with pytest.raises(DataError) as refused:
        read("best.ckpt")
    assert str(refused.value).startswith(f"best.ckpt: {message}")
    assert str(refused.value).endswith(". Use another checkpoint, or train again.")


@pytest.mark.parametrize("content", [b"hello", b"\x80\x02.", b"Rhello\n.", b"PK\x03\x04" + b"x" * 99, b"\x00" * 64])
def test_a_file_of_something_else_is_refused(content: bytes) -> None:
    Path("x.ckpt").write_bytes(content)
    with pytest.raises(RequestError, match=r"x\.ckpt: (is damaged|cannot be read as a checkpoint)"):
        read("x.ckpt")


@pytest.mark.parametrize("content", [{"conv.weight": torch.zeros(1)}, [1, 2], torch.zeros(3), {}])
def test_bare_weights_are_pointed_to_backbone_weights(content: Any) -> None:
    torch.save(content, "w.pth")
    with pytest.raises(RequestError, match=r"w\.pth: is no segrun checkpoint.*backbone\.weights=<path>"):
        read("w.pth")


def test_pickled_code_is_refused_without_running_it() -> None:
    write(Path("best.ckpt"), checkpoint())
    content = torch.load("best.ckpt", weights_only=True)
    torch.save({**content, "training": Code()}, "best.ckpt")
    with pytest.raises(RequestError, match=r"best\.ckpt: cannot be read as a checkpoint \(it holds pickled code\)"):
        read("best.ckpt")
    assert not Path("ran").exists()


def test_a_newer_format_asks_for_an_update() -> None:
    write(Path("best.ckpt"), checkpoint())
    content = torch.load("best.ckpt", weights_only=True)
    torch.save({**content, "segrun": VERSION + 1}, "best.ckpt")
    with pytest.raises(RequestError, match=rf"newer segrun \(format {VERSION + 1}\)\. Update segrun"):
        read("best.ckpt")


def test_a_write_that_fails_leaves_the_old_checkpoint_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    write(Path("best.ckpt"), checkpoint(epoch=1))
    save = torch.save

    def full(content: Any, path: Path) -> None:
        save(content, path)
        path.write_bytes(path.read_bytes()[:100])
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        write(Path("best.ckpt"), checkpoint(epoch=2))
    assert read("best.ckpt").epoch == 1
    assert [path.name for path in Path.cwd().iterdir()] == ["best.ckpt"]


def test_files_of_text_and_json_are_replaced_whole() -> None:
    write_text(Path("a.txt"), "Straße")
    assert Path("a.txt").read_text(encoding="utf-8") == "Straße"
    with pytest.raises(TypeError):
        write_json(Path("a.txt"), {"a": object()})
    with pytest.raises(KeyboardInterrupt), atomic_write(Path("a.txt")) as part:
        part.write_text("half")
        raise KeyboardInterrupt
    assert Path("a.txt").read_text(encoding="utf-8") == "Straße"
    assert [path.name for path in Path.cwd().iterdir()] == ["a.txt"]


def test_a_folder_that_cannot_be_written_is_named() -> None:
    Path("taken").write_text("a file")
    with pytest.raises(RequestError, match=r"taken.*cannot be written.*another folder"):
        ensure_dir(Path("taken/run"))
    assert list(ensure_dir(Path("new/run")).iterdir()) == []
