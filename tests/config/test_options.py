"""Every shipped option composes, can be built, and says what it is; options of different groups work together."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from segrun.cli import COMMANDS
from segrun.config.build import build, to_dataclass
from segrun.config.options import option_names
from segrun.config.trust import locate_class
from segrun.engine.settings import TrainerSettings
from tests.config.shipped import CONF, FILES, OPTIONS, PRIMARY, composed, options

# groups of which any number may be chosen
LISTS = ("tracker", "auxiliary", "regularizer")


def targets(values: Any) -> Iterator[str]:
    """Every `_target_` in a config."""
    if isinstance(values, dict):
        if "_target_" in values:
            yield values["_target_"]
        values = list(values.values())
    if isinstance(values, list):
        for value in values:
            yield from targets(value)


@pytest.mark.parametrize("name", PRIMARY)
def test_a_primary_config_composes_and_belongs_to_a_command(name: str) -> None:
    assert composed(name)["names"] is not None
    assert name in {primary for primary, _, _ in COMMANDS.values()}


@pytest.mark.slow
@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_composes_into_what_can_be_built_and_read(option: str) -> None:
    group, _, name = option.partition("/")
    values = composed("train", f"{group}=[{name}]" if group in LISTS else f"{group}={name}")
    assert group in LISTS or values["names"][group] == name
    to_dataclass(values["trainer"], TrainerSettings, "trainer")
    for target in targets(values):
        assert locate_class(target, group, trust=()) is not None
    if group in ("augment", "loss", "optimizer", "schedule", "strategy", "freeze", "regularizer", "balance") or (
        group == "auxiliary" and name not in ("image_labels", "segmentation")  # these two read files
    ):
        chosen = values[group][name] if group in LISTS else values[group]
        assert type(build(chosen, group)).__name__ == chosen["_target_"].rpartition(".")[2]


@pytest.mark.slow
@pytest.mark.parametrize("dataset", options("dataset"))
def test_eval_takes_every_dataset(dataset: str) -> None:
    assert composed("eval", f"dataset={dataset}")["dataset"] == composed("train", f"dataset={dataset}")["dataset"]


# every strategy with every freeze schedule, the experiments in turn
TURNS = itertools.cycle([None, *options("experiment")])
PAIRS = itertools.product(options("strategy"), options("freeze"))
COMBINATIONS = [(*pair, turn) for pair, turn in zip(PAIRS, TURNS, strict=False)]


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "freeze", "experiment"), COMBINATIONS)
def test_strategy_freeze_and_experiment_compose_and_the_users_words_win(
    strategy: str, freeze: str, experiment: str | None
) -> None:
    words = [f"strategy={strategy}", f"freeze={freeze}", *([f"experiment={experiment}"] if experiment else [])]
    values = composed("train", *words)
    assert (values["names"]["strategy"], values["names"]["freeze"]) == (strategy, freeze)
    assert values["strategy"] == composed("train", f"strategy={strategy}")["strategy"]
    assert values["freeze"] == composed("train", f"freeze={freeze}")["freeze"]
    assert (values["backbone"]["weights"] == "none") == (strategy == "scratch")


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_the_first_line_says_what_it_is_and_its_command_works(name: str) -> None:
    lines = (CONF / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    comments = itertools.takewhile(lambda line: line.startswith("#"), lines)
    first = next((line for line in comments if "@package" not in line), None)
    assert first is not None, "opens with no comment"
    if name.startswith("hydra/"):
        return
    match = re.fullmatch(r"# (.+): segrun (\w+) (.+)", first)
    assert match, first
    primary, words = COMMANDS[match[2]][0], match[3].split()
    group, _, option = name.rpartition("/")
    assert composed(primary, *words)
    if option == "default":  # there is no other to choose, only keys to change
        package = {"splits": "split"}.get(group, group)
        assert any(word.startswith(f"{package}.") for word in words)
    elif group:
        assert any(word in (f"{group}={option}", f"{group}=[{option}]") for word in words)
    else:
        assert primary == name


GROUPS = ("head", "strategy", "freeze", "regularizer", "auxiliary", "balance", "dataset", "sizing", "augment", "loss",
          "optimizer", "schedule", "tracker", "experiment")  # fmt: skip


@pytest.mark.parametrize("group", GROUPS)
def test_the_readme_names_every_option(group: str) -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8").split("## Options")[1]
    row = next(line for line in text.splitlines() if re.match(rf"\| ([\w, ]*, )?{group}(, [\w, ]*)? \|", line))
    named = text if group == "strategy" else row
    assert not [name for name in option_names(group) if not re.search(rf"(?<!\w){name}(?!\w)", named)]
