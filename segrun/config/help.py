"""`segrun <command> --help`: groups, options and keys in the words of conf/ itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from segrun.config.options import conf_dir

GROUPS = {
    "backbone": "the pretrained feature extractor",
    "head": "from its feature maps to a mask",
    "strategy": "how the pretrained weights are transferred to your data",
    "freeze": "which parts are trained, from which epoch",
    "regularizer": "penalties that keep weights or features near the pretrained ones: regularizer=[name]",
    "auxiliary": "tasks that are trained beside the mask: auxiliary=[name]",
    "balance": "how the losses of several tasks are weighted",
    "dataset": "images, masks and classes",
    "splits": "which images are for training, validation and test",
    "sizing": "how images of any size reach the network",
    "augment": "random changes of the training images",
    "rules": "which findings in the data are errors, warnings or ignored",
    "loss": "what is minimised",
    "optimizer": "how it is minimised",
    "schedule": "the learning rate over time",
    "trainer": "length, batches, precision, device, monitoring",
    "tracker": "where curves are sent besides the run folder: tracker=[name]",
    "experiment": "ready combinations: experiment=name",
    "search": "what a search by the score on val may choose: search=name",
}
DEFAULT_ONLY = {"splits": "split", "rules": "rules", "trainer": "trainer"}  # groups with one option → their key


def explain(command: str, entry: tuple[str, str, str], words: Sequence[str] = ()) -> str:
    """The help of a command.

    Args:
        command: Its name.
        entry: Its primary config, its module, and what it does.
        words: The rest of the command line; --config-dir in it adds the user's own options.
    """
    primary, _, purpose = entry
    defaults, keys = _read_primary(conf_dir() / f"{primary}.yaml")
    groups = {group: option for group, option in defaults if group in GROUPS}
    lines = [f"segrun {command}: {purpose}", "", f"usage: segrun {command} [group=option] [key=value …] [flags]"]
    if groups:
        lines += ["", "groups and their options (* is the default; group.key=value changes one of its keys):"]
        lines += _option_lines(groups, [conf_dir(), *_config_dirs(words)])
    for group, key in DEFAULT_ONLY.items():
        if group in groups:
            lines += ["", f"keys of {key}:", *_key_lines(conf_dir() / group / "default.yaml", f"{key}.")]
    lines += ["", "keys:", *keys, ""]
    lines += [
        "flags: -m (a job for each combination of a,b values)  --cfg job (print the config)",
        "       --config-dir <folder> (your own options, in folders named like the groups)  --info",
    ]
    return "\n".join(lines)


def first_comment(path: Path) -> str:
    """The first line of a YAML without its example."""
    comments = [line[2:] for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# ")]
    first = next((line for line in comments if not line.startswith("@package")), "")
    return first.split(": segrun ")[0]


def _option_lines(groups: dict[str, str], folders: Sequence[Path]) -> Iterator[str]:
    for group, default in groups.items():
        yield ""
        yield f"  {group}: {GROUPS[group]}"
        for folder in folders:
            for path in sorted((folder / group).glob("*.yaml")):
                star = "*" if path.stem == default else " "
                yield f"   {star} {path.stem:<19} {first_comment(path)}"


def _read_primary(path: Path) -> tuple[list[tuple[str, str]], list[str]]:
    """The (group, option) pairs of the defaults list, and a line per key."""
    text = path.read_text(encoding="utf-8")
    pairs: list[tuple[str, str]] = re.findall(r"^  - (\w+): (\S+)", text, flags=re.MULTILINE)
    keys = list(_key_lines(path, ""))
    for parent in re.findall(r"^  - (?!_self_)(\w+)$", text, flags=re.MULTILINE):
        parent_pairs, parent_keys = _read_primary(path.with_stem(parent))
        pairs, keys = [*parent_pairs, *pairs], [*parent_keys, *keys]
    return pairs, keys


def _key_lines(path: Path, prefix: str) -> Iterator[str]:
    """Each key with its default and the comment above it."""
    comment: list[str] = []
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("# @package")]
    for line in lines[1:]:
        key = re.match(r"(\w+): (.+)", line)
        if line.startswith("# "):
            comment.append(line[2:])
        elif key is not None:
            value = "" if key[2] == "???" else key[2]
            yield f"  {f'{prefix}{key[1]}={value}':<30} {' '.join(comment)}"
            comment = []


def _config_dirs(words: Sequence[str]) -> list[Path]:
    folders = []
    for word, following in zip(words, [*words, ""][1:], strict=True):
        if word in ("--config-dir", "-cd"):
            folders.append(Path(following))
        elif word.startswith("--config-dir="):
            folders.append(Path(word.partition("=")[2]))
    return folders
