"""A lock on a run folder: one process at a time trains in it.

It is a POSIX record lock, held by the process itself. The operating system releases it when the process ends, however
that happens; loader workers that outlive a killed run do not inherit it; and network file systems share it between
machines.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from segrun.errors import RequestError
from segrun.files import ensure_dir, refuse_link
from segrun.report.terminal import print_line

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FILE = ".lock"
_holders: dict[Path, int] = {}  # threads of this process by what they hold: record locks tell only processes apart
_holders_change = threading.Lock()


class InUseError(RequestError):
    """Another process works in the folder."""


@contextlib.contextmanager
def lock(folder: Path, file: str = FILE, subject: str = "run folder") -> Iterator[None]:
    """Hold a folder, which is made where it is missing. A thread may hold it twice.

    Where several processes train together, the first one holds it. Where there are no such locks (Windows, some file
    systems), nothing is held.

    Args:
        folder: The folder.
        file: Name of the file in it that is locked. It is removed at the end; one that a killed process has left behind
            does no harm.
        subject: What the file stands for, in messages.

    Raises:
        InUseError: Another process or thread holds it. The message names the process.
        RequestError: The folder cannot be written. Or the file is a link; or it stands for a run folder, which is a
            link or holds one: results would be written where that leads.
    """
    path, thread = folder.resolve() / file, threading.get_ident()
    if os.environ.get("RANK", "0") != "0" or _holders.get(path) == thread:
        yield
        return
    ensure_dir(folder)
    for written in (folder, *sorted(folder.iterdir())) if file == FILE else (path,):
        refuse_link(written)
    if fcntl is None:
        yield
        return
    with _holders_change:
        if path in _holders:
            raise _in_use(folder, path, subject)
        descriptor = _acquire(path)
        if descriptor is None:
            raise _in_use(folder, path, subject)
        _holders[path] = thread
    try:
        yield
    finally:
        with _holders_change:
            path.unlink(missing_ok=True)  # while it is locked: whoever opens it now finds it gone, see _acquire
            os.close(descriptor)
            del _holders[path]


def wait_until_free(folder: Path) -> bool:
    """Wait while another process holds a run folder.

    Returns:
        Whether one did.
    """
    waited = False
    while True:
        try:
            with lock(folder):
                return waited
        except InUseError as error:
            if not waited:
                print_line(f"waiting: {error}")
            waited = True
            time.sleep(1)


def _acquire(path: Path) -> int | None:
    """The descriptor of the locked file; None where another process holds it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                os.close(descriptor)
                return None  # any other error: no locks here
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                os.truncate(descriptor, 0)
                os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
                return descriptor
        os.close(descriptor)  # its holder has removed it in the meantime


def _in_use(folder: Path, path: Path, subject: str) -> InUseError:
    holder = ""
    if path not in _holders:  # to open and close the file would release the lock of this process
        with contextlib.suppress(OSError):
            holder = path.read_text(encoding="utf-8", errors="replace")
    holder = holder or "another process or thread"
    return InUseError(f"{folder}: {holder} works in this {subject}. Wait until it ends, or end it.")
