"""Fixtures that every test may use. Tests run offline: the pretrained weights they load are files they write."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

os.environ["HF_HUB_OFFLINE"] = "1"  # before its client reads it
os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that tests start
torch.set_num_threads(1)  # two workers, two cores
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells have it ignored by what runs in the background

# a run of seconds: small images, few epochs, a small head
QUICK = [
    "head=fcn",
    "head.channels=16",
    "dataset.size=64",
    "dataset.train=8",
    "dataset.val=4",
    "dataset.test=4",
    "trainer.epochs=2",
    "trainer.batch_size=4",
    "trainer.device=cpu",
    "trainer.precision=fp32",
    "augment=light",
    "schedule.warmup=0",
]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test works in a folder of its own, with empty caches and no network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("SEGRUN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setattr("segrun.models.weights.fetching.download_from_host", _no_network)
    torch.manual_seed(0)
    return tmp_path


def _no_network(url: str, path: Path, sha256: str) -> None:
    raise OSError("tests have no network")


@contextlib.contextmanager
def stopped_after(steps: int) -> Iterator[list[int]]:
    """Inside, the training stops in its n-th step, counted over all runs; yields a list with an entry per step."""
    from segrun.engine import loop

    step, done = loop.train_step, []

    def stopping_step(*args: Any, stopping: bool, seed: int) -> Any:
        done.append(1)
        return step(*args, stopping=len(done) == steps, seed=seed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "train_step", stopping_step)
        yield done


@pytest.fixture
def folder_data(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small folder data set: 0 background, 1 a bright square. Returns its root."""

    def write(
        count: int = 10, size: tuple[int, int] = (48, 64), root: str = "data", suffix: str = ".png", high: int = 1
    ) -> Path:
        base = tmp_path / root
        (base / "images").mkdir(parents=True)
        (base / "masks").mkdir()
        rng = np.random.default_rng(0)
        for index in range(count):
            image = rng.integers(0, 90, (*size, 3), dtype=np.uint8)
            mask = np.zeros(size, np.uint8)
            top, left = rng.integers(0, size[0] - 20), rng.integers(0, size[1] - 20)
            image[top : top + 20, left : left + 20] += 150
            mask[top : top + 20, left : left + 20] = high
            Image.fromarray(image).save(base / "images" / f"p{index:02}{suffix}")
            Image.fromarray(mask).save(base / "masks" / f"p{index:02}.png")
        return base

    return write


@pytest.fixture
def pretrained(tmp_path: Path) -> Path:
    """A weights file for mobilenet_v2, as torchvision would publish one."""
    from torchvision.models import mobilenet_v2

    path = tmp_path / "pretrained.pth"
    torch.save(mobilenet_v2().state_dict(), path)
    return path
