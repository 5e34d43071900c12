"""The examples of CONTRIBUTING.md work as printed; its backbone works with every strategy."""

from __future__ import annotations

import re
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import segrun
from segrun.commands import evaluate
from segrun.config.build import partial
from segrun.config.compose import compose
from segrun.config.options import conf_dir, option_names
from segrun.data.dataset import Dataset
from segrun.errors import RequestError
from segrun.models.backbones.backbone import Backbone
from segrun.models.heads.head import Head
from segrun.transfer.strategies.strategy import Strategy
from tests.conftest import QUICK

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")


def code_block(path: str) -> str:
    """The block of code that follows a file name."""
    match = re.search(rf"`{re.escape(path)}`:\n\n```\w+\n(.*?)```", TEXT, re.DOTALL)
    assert match, path
    return match[1]


@pytest.fixture
def plain(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Saves plain.py in the current folder; returns the override that selects it."""
    (elsewhere / "plain.py").write_text(code_block("segrun/models/backbones/plain.py"))
    monkeypatch.syspath_prepend(str(elsewhere))
    sys.modules.pop("plain", None)
    yield "+backbone={_target_:plain.Plain,width:4,weights:none}"
    sys.modules.pop("plain", None)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", option_names("strategy"))
def test_a_users_backbone_works_with_every_strategy(plain: str, elsewhere: Path, strategy: str) -> None:
    import plain as module  # type: ignore[import-not-found,unused-ignore]

    torch.save(module.Plain(4).state_dict(), "own.pth")
    overrides = ["~backbone", plain if strategy == "scratch" else plain.replace("none", "own.pth")]
    overrides += [f"strategy={strategy}", f"trainer.epochs={6 if strategy == 'gradual' else 2}"]
    if strategy == "adaptformer":
        with pytest.raises(RequestError, match="needs transformer blocks"):
            segrun.train([*QUICK, *overrides])
        return
    trained = segrun.train([*QUICK, *overrides])
    evaluated = evaluate.run(compose("eval", [f"checkpoint={trained.folder}", "trust=[plain]"]))
    assert evaluated.scores["confusion"] == trained.test["confusion"]  # type: ignore[index]


EXAMPLES = [
    (Backbone, "segrun/models/backbones/plain.py"),
    (Head, "segrun/models/heads/perceptron.py"),
    (Strategy, "segrun/transfer/strategies/linear_rates.py"),
    (Dataset, "segrun/data/sets/discs.py"),
]


@pytest.mark.parametrize(("base", "path"), EXAMPLES)
def test_an_example_passes_its_own_test(base: type, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, stem = path.removesuffix(".py").replace("/", "."), Path(path).stem
    module = types.ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    exec(code_block(path), module.__dict__)
    namespace: dict[str, Any] = {}
    exec(code_block(f"tests/{Path(path).parent.relative_to('segrun')}/test_{stem}.py"), namespace)
    tests = [value for key, value in namespace.items() if key.startswith("test_")]
    assert tests
    for test in tests:
        test()
    group = base.__name__.lower()
    settings = yaml.safe_load(code_block(f"conf/{group}/{stem}.yaml"))
    assert partial(settings, group, base=base).cls.__module__ == name


@pytest.mark.slow
def test_a_users_options_folder_is_read(plain: str, elsewhere: Path) -> None:
    (elsewhere / "options" / "backbone").mkdir(parents=True)
    (elsewhere / "options" / "backbone" / "plain.yaml").write_text(code_block("options/backbone/plain.yaml"))
    cli = [sys.executable, "-m", "segrun", "plan", "--config-dir", "options", "backbone=plain", "strategy=scratch"]

    done = subprocess.run(cli, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "backbone.stage3" in done.stdout


def test_the_yaml_of_a_family_is_the_one_that_ships() -> None:
    assert code_block("conf/backbone/resnet34.yaml") == (conf_dir() / "backbone" / "resnet34.yaml").read_text()
