"""Weights files: what is no state dict is refused, and nothing pickled runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from segrun.errors import RequestError
from segrun.models.weights.files import load_file


class Code:
    """Leaves a folder behind when unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("keep", [0, 1, 100, 400])
def test_a_truncated_file_is_refused(keep: int) -> None:
    torch.save({"weight": torch.arange(4.0)}, "w.pth")
    Path("w.pth").write_bytes(Path("w.pth").read_bytes()[:keep])
    with pytest.raises(RequestError, match="no weights file"):
        load_file(Path("w.pth"))


@pytest.mark.parametrize(
    "content", [b"no weights", b"\x80\x02.", b"\x00" * 64, b"Rhello\n.", b"\x89PNG\r\n\x1a\n" + b"x" * 99]
)
def test_a_file_of_something_else_is_refused(content: bytes) -> None:
    Path("w.pth").write_bytes(content)
    with pytest.raises(RequestError, match=r"w\.pth: "):
        load_file(Path("w.pth"))


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_code_is_refused_without_running_it(zipped: bool) -> None:
    torch.save({"weight": torch.zeros(1), "hook": Code()}, "w.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(RequestError, match=r"w\.pth: no weights file \(it holds pickled code\)"):
        load_file(Path("w.pth"))
    assert not Path("ran").exists()


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [torch.zeros(1)], 1.5])
def test_a_file_without_a_state_dict_is_refused(content: Any) -> None:
    torch.save(content, "w.pth")
    with pytest.raises(RequestError, match="holds no state dict of tensors"):
        load_file(Path("w.pth"))
