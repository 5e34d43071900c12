"""What a checkpoint's config may name, and what it may cause: see docs/threat-model.md."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segrun.errors import RequestError

Trust = Sequence[str] | None  # None: the user's own config; otherwise modules that a checkpoint's config may name

# settings of segrun's classes that name something to fetch or open, and what takes their place
_SOURCES: Mapping[str, Any] = {"weights": "none", "wheel": None, "download": False}


def without_sources(cls: type, settings: Mapping[str, Any], trust: Trust) -> Mapping[str, Any]:
    """The settings; where they come out of a checkpoint, none of segrun's classes fetches anything because of them.

    The weights are in the checkpoint, and a class that the user trusts takes its settings as they are.
    """
    if trust is None or not _inside(cls.__module__, ("segrun",)):
        return settings
    return {name: _SOURCES.get(name, value) for name, value in settings.items()}


def locate_class(target: str, key: str, trust: Trust) -> Any:
    """The class behind a dotted path.

    Trust is judged by the module that *defines* the class: `segrun.x.os.system` begins with segrun, too.

    Raises:
        RequestError: There is no such class, or a checkpoint's config may not name it.
    """
    module, _, name = target.rpartition(".")
    trusted = None if trust is None else ("segrun", *trust)
    if trusted is not None and not _inside(module, trusted):
        raise RequestError(
            f"{key}: the checkpoint names {target}, which is not part of segrun. "
            f"If you know and trust that code: trust=[{module}]."
        )
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # a user's own class lies in the current folder
    try:
        cls = getattr(__import__(module, fromlist=[name]), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise RequestError(f"{key}: there is no {target} ({error}).") from error
    home = getattr(cls, "__module__", "")
    if not inspect.isclass(cls) or (trusted is not None and not _inside(home, trusted)):
        raise RequestError(f"{key}: {target} is not a class that may be built here.")
    return cls


def _inside(module: str, packages: Sequence[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)
