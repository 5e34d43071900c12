"""`segrun <command> --help`: the groups and their options in the words that stand in conf/ itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from segrun.config.compose import conf_dir

GROUPS = {
    "backbone": "the pretrained feature extractor",
    "head": "from its feature maps to a mask",
    "strategy": "how the pretrained weights are moved to your data",
    "freeze": "which parts learn, from which epoch",
    "regularizer": "what is added to the loss to hold weights or features: regularizer=[name]",
    "auxiliary": "what is learnt beside the mask: auxiliary=[name]",
    "balance": "how the losses of several tasks are weighed",
    "dataset": "images, masks and classes",
    "splits": "what is for training, for choosing and for the final score",
    "sizing": "how images of any size reach the network",
    "augment": "random changes of the training images",
    "rules": "what is an error, a warning or nothing in the data",
    "loss": "what is minimised",
    "optimizer": "how",
    "schedule": "the learning rate over time",
    "trainer": "length, batches, precision, device, monitoring",
    "tracker": "where curves go besides the run folder: tracker=[name]",
    "experiment": "ready combinations: experiment=name",
    "search": "what a search by the score on val may choose: search=name",
}


def explain(command: str, entry: tuple[str, str, str], words: Sequence[str] = ()) -> str:
    """Help for a command. entry: (primary config, module, what it does); words: the rest of the command line,
    of which --config-dir adds the user's own options."""
    primary, _, does = entry
    folders = [conf_dir(), *_config_dirs(words)]
    defaults, keys = _primary(conf_dir() / f"{primary}.yaml")
    lines = [f"segrun {command}: {does}", "", f"usage: segrun {command} [group=option] [key=value …] [flags]"]
    groups = {group: chosen for group, chosen in defaults if group in GROUPS}
    if groups:
        lines += ["", "groups and their options (* is the default; group.key=value changes one of its keys):"]
    for group, chosen in groups.items():
        lines += ["", f"  {group}: {GROUPS[group]}"]
        for folder in folders:
            for path in sorted((folder / group).glob("*.yaml")):
                star = "*" if path.stem == chosen else " "
                lines.append(f"   {star} {path.stem:<19} {first_comment(path)}")
    for group, prefix in (("splits", "split."), ("rules", "rules."), ("trainer", "trainer.")):
        if group in groups:
            lines += ["", f"{prefix.rstrip('.')}'s keys:", *_keys(conf_dir() / group / "default.yaml", prefix)]
    lines += ["", "keys:", *keys]
    lines += [
        "",
        "flags: -m (a job for each combination of a,b values)  --cfg job (print the config)",
        "       --config-dir <folder> (your own options, in folders named like the groups)  --info",
    ]
    return "\n".join(lines)


def _primary(path: Path) -> tuple[list[tuple[str, str]], list[str]]:
    """The defaults list's (group, option) pairs, and the keys with what is said of them."""
    text = path.read_text(encoding="utf-8")
    pairs: list[tuple[str, str]] = re.findall(r"^  - (\w+): (\S+)", text, flags=re.MULTILINE)
    keys = list(_keys(path, ""))
    for other in re.findall(r"^  - (?!_self_)(\w+)$", text, flags=re.MULTILINE):  # one that it builds on
        below, more = _primary(path.with_stem(other))
        pairs, keys = [*below, *pairs], [*keys, *more]
    return pairs, keys


def _keys(path: Path, prefix: str) -> Iterator[str]:
    said: list[str] = []
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("# @package")]
    for line in lines[1:]:
        if line.startswith("# "):
            said.append(line[2:])
        elif found := re.match(r"(\w+): (.+)", line):
            value = "" if found[2] == "???" else found[2]
            yield f"  {f'{prefix}{found[1]}={value}':<30} {' '.join(said)}"
            said = []


def first_comment(path: Path) -> str:
    """What a YAML says of itself, without its example."""
    comments = [line[2:] for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# ")]
    said = next((line for line in comments if not line.startswith("@package")), "")
    return said.split(": segrun ")[0]


def _config_dirs(words: Sequence[str]) -> list[Path]:
    found = []
    for word, after in zip(words, [*words[1:], ""], strict=True):
        if word in ("--config-dir", "-cd"):
            found.append(Path(after))
        elif word.startswith("--config-dir="):
            found.append(Path(word.partition("=")[2]))
    return found
