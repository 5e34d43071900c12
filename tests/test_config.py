"""Every shipped config composes; what is wrong is refused by name; a stranger's config runs nobody's code."""

from __future__ import annotations

import functools
import itertools
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from segrun.cli import COMMANDS
from segrun.config.build import build, locate, to_dataclass
from segrun.config.compose import compose, conf_dir, option_names, to_dict, to_yaml
from segrun.config.keys import config_hash
from segrun.engine.optimizers import AdamW
from segrun.engine.settings import TrainerSettings
from segrun.errors import RequestError
from segrun.tasks.losses.sum import Sum

CONF = conf_dir()
FILES = sorted(path.relative_to(CONF).with_suffix("").as_posix() for path in CONF.rglob("*.yaml"))
PRIMARY = [name for name in FILES if "/" not in name]
OPTIONS = [name for name in FILES if "/" in name and not name.startswith("hydra/")]
# what only the user can know
MISSING = {"dataset.root": "data", "checkpoint": "best.ckpt", "input": "in", "output": "out", "sizing.size": [32, 32],
           "backbone.name": "resnet10t", "runs": ["outputs"],
           "auxiliary.segmentation.dataset.root": "other"}  # fmt: skip
# groups of which any number may be chosen
LISTS = ("tracker", "auxiliary", "regularizer")


def options(group: str) -> list[str]:
    return [name.partition("/")[2] for name in OPTIONS if name.startswith(f"{group}/")]


@functools.cache
def composed(name: str, *words: str) -> dict[str, Any]:
    """Resolved; what only the user can know is filled in where the config asks for it."""
    cfg = compose(name, words)
    for key in OmegaConf.missing_keys(cfg):
        OmegaConf.update(cfg, key, MISSING[key])
    return to_dict(cfg)  # type: ignore[no-any-return]


def targets(values: Any) -> list[str]:
    if isinstance(values, dict):
        own = [values["_target_"]] if "_target_" in values else []
        return own + [found for value in values.values() for found in targets(value)]
    return [found for value in values for found in targets(value)] if isinstance(values, list) else []


@pytest.mark.parametrize("name", PRIMARY)
def test_a_primary_config_composes_and_belongs_to_a_command(name: str) -> None:
    assert composed(name)["names"] is not None
    assert name in {primary for primary, _, _ in COMMANDS.values()}


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_composes_into_what_can_be_built_and_read(option: str) -> None:
    group, _, name = option.partition("/")
    values = composed("train", f"{group}=[{name}]" if group in LISTS else f"{group}={name}")
    assert group in LISTS or values["names"][group] == name
    to_dataclass(values["trainer"], TrainerSettings, "trainer")
    for target in targets(values):
        assert locate(target, group, trust=()) is not None
    if group in ("augment", "loss", "optimizer", "schedule", "strategy", "freeze", "regularizer", "balance") or (
        group == "auxiliary" and name not in ("image_labels", "segmentation")  # these two read files
    ):
        chosen = values[group][name] if group in LISTS else values[group]
        assert type(build(chosen, group)).__name__ == chosen["_target_"].rpartition(".")[2]


@pytest.mark.parametrize("dataset", options("dataset"))
def test_eval_takes_every_dataset(dataset: str) -> None:
    assert composed("eval", f"dataset={dataset}")["dataset"] == composed("train", f"dataset={dataset}")["dataset"]


# every strategy with every freeze schedule, the experiments in turn
TURNS = itertools.cycle([None, *options("experiment")])
PAIRS = itertools.product(options("strategy"), options("freeze"))
COMBINATIONS = [(*pair, turn) for pair, turn in zip(PAIRS, TURNS, strict=False)]


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


@pytest.mark.parametrize("name", FILES)
def test_the_first_line_says_what_it_is_and_its_command_works(name: str) -> None:
    lines = (CONF / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    said = [line for line in itertools.takewhile(lambda line: line.startswith("#"), lines) if "@package" not in line]
    assert said, "opens with no comment"
    if name.startswith("hydra/"):
        return
    found = re.fullmatch(r"# (.+): segrun (\w+) (.+)", said[0])
    assert found, said[0]
    primary, words = COMMANDS[found[2]][0], found[3].split()
    group, _, option = name.rpartition("/")
    assert composed(primary, *words)
    if option == "default":  # there is no other to choose, only keys to change
        package = {"splits": "split"}.get(group, group)
        assert any(word.startswith(f"{package}.") for word in words)
    elif group:
        assert any(word in (f"{group}={option}", f"{group}=[{option}]") for word in words)
    else:
        assert primary == name


def test_what_has_no_value_is_named_with_the_cure() -> None:
    with pytest.raises(RequestError, match=r"^dataset\.root has no value: give dataset\.root=…$"):
        to_dict(compose("train", ["dataset=folder"]))


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("trainer.epocs=3", r"no key 'trainer\.epocs'.*Did you mean trainer\.epochs"),
        ("strategy=finetun", r"strategy has no option 'finetun'.*Did you mean finetune"),
        ("backbon=resnet18", r"backbon"),
        ("trainer.epochs=[1", r"."),
    ],
)
def test_a_word_that_does_not_fit_is_a_request_error(word: str, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        compose("train", [word])


@dataclass
class Tuned:
    lr: float
    steps: int


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"lr": 1.0, "steps": 1, "step": 2}, "step"),
        ({"lr": 1.0, "steps": "many"}, "steps"),
        ({"lr": 1.0, "steps": 1.5}, "steps"),
        ({"lr": [1.0], "steps": 1}, "lr"),
        ({"lr": None, "steps": 1}, "lr"),
        ({"lr": 1.0}, "steps"),
        ({"lr": 1.0, "steps": "???"}, "steps"),
    ],
)
def test_unknown_keys_wrong_types_and_missing_values_are_refused_by_name(values: dict[str, Any], key: str) -> None:
    with pytest.raises(RequestError, match=rf"^tuned\.{key}: "):
        to_dataclass(values, Tuned, "tuned")


def test_typed_values_come_out_as_the_dataclass() -> None:
    assert to_dataclass({"lr": 1, "steps": "7"}, Tuned, "tuned") == Tuned(1.0, 7)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("trainer.epochs=0", r"trainer\.epochs=0: at least 1"),
        ("trainer.monitor=iou", r"trainer\.monitor=iou: choose one of miou_present"),
        ("trainer.precision=half", r"trainer\.precision=half"),
        ("trainer.steps=3", r"trainer\.steps=3: .*12"),
        ("trainer.ema=1.0", r"trainer\.ema=1\.0"),
        ("trainer.clip=0", r"trainer\.clip=0"),
        ("trainer.patience=0", r"trainer\.patience=0"),
        ("trainer.batch_size=big", r"trainer\.batch_size: "),
    ],
)
def test_trainer_settings_out_of_range_are_refused(word: str, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        to_dataclass(compose("train", [word]).trainer, TrainerSettings, "trainer")


def test_steps_are_parted_evenly_over_the_epochs() -> None:
    settings = to_dataclass(
        composed("train", "trainer.epochs=4", "trainer.steps=10")["trainer"], TrainerSettings, "trainer"
    )
    assert settings.steps_per_epoch(images=5) == [2, 3, 2, 3]
    settings = to_dataclass(
        composed("train", "trainer.epochs=2", "trainer.batch_size=4")["trainer"], TrainerSettings, "trainer"
    )
    assert settings.steps_per_epoch(images=12) == [3, 3]
    assert settings.steps_per_epoch(images=1) == [1, 1]


ADAMW = {"_target_": "segrun.engine.optimizers.AdamW", "lr": 0.1, "weight_decay": 0.0, "betas": [0.9, 0.99]}

MINE = """
from pathlib import Path
Path("ran").mkdir()
class Optimizer:
    def __init__(self, lr):
        self.lr = lr
def function(lr):
    return lr
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The user's own module in the current folder; leaves a folder behind when it is run."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = f"mine_{tmp_path.name}"  # a module is imported once a process
    Path(f"{name}.py").write_text(MINE)
    return name


def test_build_makes_the_class_with_what_is_written_and_what_is_given() -> None:
    short = {key: value for key, value in ADAMW.items() if key != "lr"}
    assert build(short, "optimizer", lr=0.5) == AdamW(0.5, 0.0, [0.9, 0.99])


def test_build_makes_what_is_nested_first() -> None:
    made = build(composed("train", "loss=cross_entropy_dice")["loss"], "loss", trust=())
    assert isinstance(made, Sum)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"lr": 1}, r"^optimizer: has no _target_\. Choose optimizer=<name>"),
        ({"_target_": "segrun.engine.optimizers.Adamw"}, r"^optimizer: there is no segrun\.engine\.optimizers\.Adamw"),
        ({"_target_": "segrun.nowhere.X"}, r"^optimizer: there is no segrun\.nowhere\.X"),
        ({"_target_": "X"}, r"^optimizer: there is no X"),
        ({**ADAMW, "beta": 1}, r"^optimizer: .*unexpected keyword argument 'beta'.* It takes lr, weight_decay, betas"),
        ({"_target_": ADAMW["_target_"]}, r"^optimizer: .*missing a required argument: 'lr'"),
    ],
)
def test_build_says_what_it_cannot_make(values: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        build(values, "optimizer")


def test_the_users_own_class_is_found_in_the_current_folder(mine: str) -> None:
    assert build({"_target_": f"{mine}.Optimizer", "lr": 3}, "optimizer").lr == 3
    with pytest.raises(RequestError, match=r"function is not a class"):
        build({"_target_": f"{mine}.function", "lr": 3}, "optimizer")


FOREIGN = [
    "os.system", "builtins.eval", "builtins.object", "subprocess.Popen", "pathlib.Path", "collections.OrderedDict",
    "segrun.cli.os.system", "segrun.cli.Path", "segrun.cli.importlib.import_module", "segrun.config.build.OmegaConf",
    "segrun.models.weights.wheels.subprocess.Popen", "segrun.models.segmenter.nn.Module", "segrun.models.segmenter.Tensor",
    "segrun.cli.main", "segrun.cli.run_hydra", "segrunner.Optimizer", "segrun", "segrun.", ".Path", "", "..",
]  # fmt: skip


@pytest.mark.parametrize("target", FOREIGN)
def test_a_checkpoint_builds_nothing_but_segruns_classes(target: str) -> None:
    with pytest.raises(RequestError, match=r"^optimizer"):
        build({"_target_": target}, "optimizer", trust=())


def test_a_checkpoint_does_not_even_import_foreign_code(mine: str) -> None:
    for trust in ((), ("other",), (mine[:-1],)):
        with pytest.raises(RequestError, match=rf"names {mine}\.Optimizer, which is not segrun's.*trust=\[{mine}\]"):
            build({"_target_": f"{mine}.Optimizer", "lr": 3}, "optimizer", trust=trust)
    assert not Path("ran").exists()


def test_a_foreign_class_nested_in_segruns_own_is_refused(mine: str) -> None:
    values = {**ADAMW, "betas": [{"_target_": f"{mine}.Optimizer", "lr": 3}, 0.9]}
    with pytest.raises(RequestError, match=rf"^optimizer\.betas\[0\]: the checkpoint names {mine}"):
        build(values, "optimizer", trust=())
    assert not Path("ran").exists()


def test_code_that_the_user_trusts_is_built(mine: str) -> None:
    assert build({"_target_": f"{mine}.Optimizer", "lr": 3}, "optimizer", trust=(mine,)).lr == 3


def test_segruns_classes_are_built_out_of_a_checkpoint() -> None:
    assert build(ADAMW, "optimizer", trust=()) == AdamW(0.1, 0.0, [0.9, 0.99])


@pytest.mark.parametrize(
    "word", ["trainer.device=cpu", "trainer.workers=3", "tracker=[tensorboard]", "output=elsewhere"]
)
def test_the_hash_ignores_what_cannot_change_the_outcome(word: str) -> None:
    assert config_hash(composed("train", word)) == config_hash(composed("train"))


@pytest.mark.parametrize(
    "word",
    ["seed=1", "labels=20", "optimizer.lr=0.1", "head=fcn", "trainer.epochs=3", "strategy=scratch", "dataset.seed=1"],
)
def test_the_hash_tells_other_requests_apart(word: str) -> None:
    assert config_hash(composed("train", word)) != config_hash(composed("train"))


def test_the_config_survives_yaml() -> None:
    values = composed("train", "head=deeplabv3plus")
    Path("config.yaml").write_text(to_yaml(values), encoding="utf-8")
    assert to_dict(OmegaConf.load("config.yaml")) == values


GROUPS = ("head", "strategy", "freeze", "regularizer", "auxiliary", "balance", "dataset", "sizing", "augment", "loss",
          "optimizer", "schedule", "tracker", "experiment")  # fmt: skip


@pytest.mark.parametrize("group", GROUPS)
def test_the_readme_names_every_option(group: str) -> None:
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8").split("## Options")[1]
    row = next(line for line in text.splitlines() if re.match(rf"\| ([\w, ]*, )?{group}(, [\w, ]*)? \|", line))
    named = text if group == "strategy" else row
    assert not [name for name in option_names(group) if not re.search(rf"(?<!\w){name}(?!\w)", named)]
