"""What the user typed: paths quoted before Hydra parses them, Hydra's complaints in our words."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from hydra.errors import HydraException, MissingConfigException
from omegaconf.errors import OmegaConfBaseException

from segrun.errors import RequestError, closest

# keys whose values are paths: quoted before Hydra parses them, `~` expanded
PATH_KEYS = {
    "checkpoint", "input", "output", "resume", "init_from", "name",
    "dataset.root", "dataset.voc", "dataset.annotations", "dataset.images", "dataset.data", "dataset.backgrounds",
    "split.file", "split.groups", "backbone.weights",
    "tracker.mlflow.tracking_uri",
    "auxiliary.segmentation.dataset.root", "auxiliary.image_labels.file",
}  # fmt: skip
MAPPINGS = ("dataset.annotations", "dataset.images")  # {train: path, val: path} as well
LISTS = ("runs", "by", "choose")  # one or several, parted by commas: keys and paths


def quoted(word: str, multirun: bool = False) -> str:
    """Quote the value of a path key, so that Hydra's grammar leaves `a b`, `x=1`, `(2)` and 写真/ alone.
    In a sweep, commas part values, unless the whole value is a path that exists."""
    key, equals, value = word.partition("=")
    if key in LISTS and value not in ("", "null") and not value.startswith("["):
        parts = [value] if Path(value).expanduser().exists() else value.split(",")
        return f"{key}=[{','.join(map(quote, parts))}]"
    if not equals or key.lstrip("+") not in PATH_KEYS or value in ("", "null"):
        return word
    if key in MAPPINGS and re.fullmatch(r"\{\w+:.*\}", value):
        return word
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1]
    many = multirun and "," in value and not Path(value).expanduser().exists()
    return f"{key}={','.join(quote(part) for part in (value.split(',') if many else [value]))}"


def quote(value: str) -> str:
    home = str(Path(value).expanduser()) if value.startswith("~") else value
    # a backslash counts for Hydra only before a quote, so a trailing one is the only other to double
    escaped = re.sub(r"(\\*)(\"|$)", lambda m: m[1] * 2 + ('\\"' if m[2] else ""), home)
    return f'"{escaped}"'


@contextlib.contextmanager
def explained(
    words: Sequence[str], keys: Callable[[], Iterable[str]], options: Callable[[str], Iterable[str]]
) -> Iterator[None]:
    """Turn Hydra's and OmegaConf's exceptions into a line or two with the cure. keys: gives the known ones; options:
    those of a group, which Hydra does not name for groups of which several may be chosen."""
    try:
        yield
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise RequestError(in_our_words(error, keys, options)) from error
    except SystemExit as end:  # argparse and Hydra's own exits
        if end.code not in (0, None):
            raise RequestError(f"cannot read the command line {' '.join(words)!r}.") from end
        raise


def in_our_words(
    error: BaseException, keys: Callable[[], Iterable[str]], options: Callable[[str], Iterable[str]]
) -> str:
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        place = f"{group} has no option {option!r}" if group else f"there is no config named {option!r}"
        return f"{place}. {closest(option, error.options or options(group))}"
    text = str(error).strip()
    if found := re.search(
        r"Could not override '([^']+)'|Key '([^']+)' is not in struct|append to config.*?'([^']+)'", text
    ):
        key = next(group for group in found.groups() if group)
        if full := re.search(r"full_key: (\S+)", str(error.__cause__ or "")):
            key = full[1]
        return f"there is no key {key!r}. {closest(key, keys())}"
    if found := re.search(r"unexpected keyword argument '(\w+)'", text):
        return f"hydra.sweeper.{found[1]}: the sweeper that is chosen has no such key."
    if found := re.match(r"Ambiguous value for argument '(.*)'", text):
        return f"{found[1]}: several values are for a sweep: segrun train -m …; one value with commas is quoted."
    first = text.splitlines()[0] if text else type(error).__name__
    cause = str(error.__cause__).splitlines()[0] if error.__cause__ and str(error.__cause__) else ""
    return f"{first} {cause}".strip()
