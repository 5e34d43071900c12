"""The checksum of a file that `torch.save` wrote: a CRC-32 of all its bytes, in the comment that ends a zip archive.

torch does not compare the tensors that it reads with the checksums in the archive, and ignores most headers. Every
reader of zip archives skips the comment, so that other programs and older versions of segrun can still read the file.
For 100 MB the checksum takes about a quarter of the time that torch.save takes.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from pathlib import Path

FIRST = b"PK\x03\x04"  # the first bytes of a zip archive
MARK = b"segrun crc32 "
COMMENT = len(MARK) + 8  # bytes
END_RECORD, END = 22, b"PK\x05\x06"  # the archive's last record: its size and first bytes; its last two give COMMENT


def add_checksum(path: Path) -> None:
    """Add the checksum to a zip archive without a comment."""
    with path.open("r+b") as file:
        file.seek(-2, 2)
        file.write(struct.pack("<H", COMMENT))
        file.flush()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            value = zlib.crc32(content)
        file.write(_comment(value))


def is_intact(path: Path) -> bool:
    """Whether a file is complete and as it was written. A zip archive without a comment, such as an older segrun wrote,
    and a file of another format count as intact."""
    with path.open("rb") as file:
        if file.read(len(FIRST)) != FIRST:
            return True
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content, memoryview(content) as view:
            last = bytes(view[-END_RECORD:])
            if last.startswith(END) and last.endswith(b"\0\0"):
                return True
            with view[:-COMMENT] as checked:
                return bytes(view[-COMMENT:]) == _comment(zlib.crc32(checked))


def _comment(value: int) -> bytes:
    return MARK + f"{value:08x}".encode()
