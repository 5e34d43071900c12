"""Files are written completely or not at all, whatever ends the writing."""

from __future__ import annotations

import errno
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from segrun.errors import RequestError, ResourceError, SegrunError
from segrun.files import atomic_write, check_writable, create_dir, write_text


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Inside, the system refuses to let a file grow beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_a_killed_writer_left_is_used_again_and_gone(tmp_path: Path) -> None:
    (tmp_path / ".a.txt.part").write_bytes(b"half of a longer file")
    write_text(tmp_path / "a.txt", "whole")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.txt", "whole")]


def test_a_link_in_the_place_of_the_temporary_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / ".a.txt.part").symlink_to("mine")
    write_text(tmp_path / "a.txt", "text")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.txt": "text", "mine": "mine"}


def test_two_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with atomic_write(path) as first:
        first.write_text("fir")
        with atomic_write(path) as second:
            assert second != first
            second.write_text("second")
        assert path.read_text() == "second"
        first.write_text("first")
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("number", "reason"), [(errno.ENOSPC, "no space left"), (errno.EDQUOT, "no disk quota left")])
def test_a_full_disk_names_place_and_need_and_keeps_the_old_file(tmp_path: Path, number: int, reason: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ResourceError) as error, atomic_write(path, size=3_210_000) as temporary:
        temporary.write_text("ne")
        raise OSError(number, "full")
    assert str(error.value) == f"{reason} on {tmp_path}, 3.2 MB needed for a.txt. Older files are kept."
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_torch_save_on_a_full_disk_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    expected = re.escape(f"the limit on file sizes is reached on {tmp_path}, 1.0 MB needed for a.pt.")
    with pytest.raises(ResourceError, match=expected), largest_file(1_000_000), atomic_write(path) as temporary:
        torch.save(torch.zeros(1_000_000), temporary)
    assert not list(tmp_path.iterdir())


def test_other_errors_pass_and_leave_nothing(tmp_path: Path) -> None:
    for error in (ValueError("x"), RuntimeError("x"), KeyboardInterrupt()):
        with pytest.raises(type(error)), atomic_write(tmp_path / "a") as temporary:
            temporary.write_text("half")
            raise error
    with pytest.raises(SegrunError, match=r"nowhere/a: cannot be written \(No such file"):
        write_text(tmp_path / "nowhere" / "a", "")
    assert not list(tmp_path.iterdir())


def test_whether_a_folder_can_be_written_is_found_without_making_it(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b")
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match=r"file/b: cannot be written .*Choose another folder"):
        check_writable(tmp_path / "file" / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_link_in_the_place_of_a_new_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / "new").symlink_to("victim")
    assert create_dir(tmp_path / "new") == tmp_path / "new_2"
