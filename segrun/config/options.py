"""The shipped options. Imports nothing heavy, since `--help` needs it."""

from __future__ import annotations

from pathlib import Path


def conf_dir() -> Path:
    """The shipped conf/: inside the package (wheel) or beside it (a clone, an editable install)."""
    package = Path(__file__).parent.parent
    return package / "conf" if (package / "conf").is_dir() else package.parent / "conf"


def option_names(group: str) -> list[str]:
    """The shipped options of a group that need no further value (timm's backbone needs a name)."""
    files = sorted((conf_dir() / group).glob("*.yaml"))
    return [file.stem for file in files if "???" not in file.read_text(encoding="utf-8")]


def groups() -> list[str]:
    """The config groups."""
    return [folder.name for folder in sorted(conf_dir().iterdir()) if folder.is_dir()]
