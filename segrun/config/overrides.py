"""What the user typed: paths are quoted before Hydra parses them, and Hydra's errors are put into our words."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from hydra.errors import HydraException, MissingConfigException
from omegaconf.errors import OmegaConfBaseException

from segrun.config.keys import facts
from segrun.config.legacy import RENAMED_GROUPS, RENAMED_KEYS
from segrun.config.options import groups
from segrun.errors import RequestError, suggest

Keys = Callable[[], Iterable[str]]
Options = Callable[[str], Iterable[str]]


def quoted(word: str, multirun: bool = False) -> str:
    """Quote the value of a path key, so that Hydra's grammar accepts `a b`, `x=1`, `(2)` and 写真/.

    In a sweep, commas separate values, unless the whole value is a path that exists.
    """
    key, equals, value = word.partition("=")
    about = facts(key.lstrip("+"))
    if not equals or value in ("", "null"):
        return word
    if about.comma_list and not value.startswith("["):
        words = [value] if Path(value).expanduser().exists() else value.split(",")
        return f"{key}=[{','.join(map(quote, words))}]"
    if not about.path or (about.path_per_split and re.fullmatch(r"\{\w+:.*\}", value)):
        return word
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1]
    several = multirun and "," in value and not Path(value).expanduser().exists()
    return f"{key}={','.join(map(quote, value.split(',') if several else [value]))}"


def quote(value: str) -> str:
    """In double quotes, with `~` expanded."""
    path = str(Path(value).expanduser()) if value.startswith("~") else value
    # a backslash counts for Hydra only before a quote, so a trailing one is the only other to double
    escaped = re.sub(r"(\\*)(\"|$)", lambda m: m[1] * 2 + ('\\"' if m[2] else ""), path)
    return f'"{escaped}"'


def refuse_old_names(words: Sequence[str]) -> None:
    """Raises RequestError for a config group or key that has a new name, and gives the new one."""
    for word in words:
        key = re.split(r"[=@]", word.lstrip("+~"))[0]
        for name in (key, key.partition(".")[0]):
            new = {**RENAMED_GROUPS, **RENAMED_KEYS}.get(name)
            if new is not None:
                raise RequestError(f"{word}: {name} is now {new}. Use {word.replace(name, new, 1)}.")


def refuse_unknown_additions(words: Sequence[str], keys: Keys) -> None:
    """Raises RequestError for `+key=value` where no command reads such a key. Below a known key the class decides."""
    for word in words:
        if word.startswith("+") and "=" in word:
            top = re.split(r"[=.@]", word.lstrip("+"))[0]
            known = {key.partition(".")[0] for key in keys()} | set(groups())
            if top not in known:
                raise RequestError(f"there is no key {top!r}. {suggest(top, known)}")


@contextlib.contextmanager
def explained(words: Sequence[str], keys: Keys, options: Options) -> Iterator[None]:
    """Turn Hydra's and OmegaConf's exceptions into a line or two with the cure.

    Args:
        words: The command line.
        keys: Gives the known keys.
        options: Gives the options of a group; Hydra does not list them for groups with several choices.
    """
    try:
        yield
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise RequestError(_explain(error, keys, options)) from error
    except SystemExit as end:  # argparse and Hydra exit by themselves
        if end.code not in (0, None):
            raise RequestError(f"cannot read the command line {' '.join(words)!r}.") from end
        raise


def _explain(error: BaseException, keys: Keys, options: Options) -> str:
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        what = f"{group} has no option {option!r}" if group else f"there is no config named {option!r}"
        return f"{what}. {suggest(option, error.options or options(group))}"
    text = str(error).strip()
    unknown = re.search(
        r"Could not override '([^']+)'|Key '([^']+)' is not in struct|append to config.*?'([^']+)'", text
    )
    if unknown:
        key = next(group for group in unknown.groups() if group)
        full = re.search(r"full_key: (\S+)", str(error.__cause__ or ""))
        key = full[1] if full else key
        return f"there is no key {key!r}. {suggest(key, keys())}"
    unexpected = re.search(r"unexpected keyword argument '(\w+)'", text)
    if unexpected:
        return f"hydra.sweeper.{unexpected[1]}: the chosen sweeper has no such key."
    ambiguous = re.match(r"Ambiguous value for argument '(.*)'", text)
    if ambiguous:
        return f"{ambiguous[1]}: several values need a sweep: segrun train -m …; quote a single value with commas."
    first = text.splitlines()[0] if text else type(error).__name__
    cause = str(error.__cause__).splitlines()[0] if error.__cause__ and str(error.__cause__) else ""
    return f"{first} {cause}".strip()
