"""What CONTRIBUTING.md shows works as it stands there: a backbone of one's own with every strategy."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import segrun
from segrun import transfer
from segrun.commands import evaluate
from segrun.config.compose import compose, conf_dir, option_names
from segrun.errors import RequestError
from tests.conftest import QUICK

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")


def shown(path: str) -> str:
    """The block of code under a file's name."""
    found = re.search(rf"`{re.escape(path)}`:\n\n```\w+\n(.*?)```", TEXT, re.DOTALL)
    assert found, path
    return found[1]


@pytest.fixture
def plain(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """plain.py in the current folder; gives the words that choose it."""
    (elsewhere / "plain.py").write_text(shown("segrun/models/plain.py"))
    monkeypatch.syspath_prepend(str(elsewhere))
    sys.modules.pop("plain", None)
    yield "+backbone={_target_:plain.Plain,width:4,weights:none}"
    sys.modules.pop("plain", None)


@pytest.mark.parametrize("strategy", option_names("strategy"))
def test_a_backbone_of_ones_own_works_with_every_strategy(plain: str, elsewhere: Path, strategy: str) -> None:
    import plain as own  # type: ignore[import-not-found,unused-ignore]

    torch.save(own.Plain(4).state_dict(), "own.pth")
    words = ["~backbone", plain if strategy == "scratch" else plain.replace("none", "own.pth")]
    words += [f"strategy={strategy}", f"trainer.epochs={6 if strategy == 'gradual' else 2}"]
    if strategy == "adaptformer":
        with pytest.raises(RequestError, match="needs transformer blocks"):
            segrun.train([*QUICK, *words])
        return
    found = segrun.train([*QUICK, *words])
    again = evaluate.run(compose("eval", [f"checkpoint={found.folder}", "trust=[plain]"]))
    assert again.scores["confusion"] == found.test["confusion"]  # type: ignore[index]


def test_the_strategy_shown_does_what_its_test_says(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere / "linear_rates.py").write_text(shown("segrun/transfer/linear_rates.py"))
    monkeypatch.setattr(transfer, "__path__", [*transfer.__path__, str(elsewhere)])
    space: dict[str, object] = {}
    exec(shown("tests/transfer/test_linear_rates.py"), space)
    space["test_rates_rise_in_equal_steps"]()  # type: ignore[operator]


def test_the_options_folder_of_ones_own_is_read(plain: str, elsewhere: Path) -> None:
    (elsewhere / "options" / "backbone").mkdir(parents=True)
    (elsewhere / "options" / "backbone" / "plain.yaml").write_text(shown("options/backbone/plain.yaml"))
    cli = [sys.executable, "-m", "segrun", "plan", "--config-dir", "options", "backbone=plain", "strategy=scratch"]

    done = subprocess.run(cli, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "backbone.stage3" in done.stdout


def test_the_yaml_of_a_family_is_the_one_that_ships() -> None:
    assert shown("conf/backbone/resnet34.yaml") == (conf_dir() / "backbone" / "resnet34.yaml").read_text()
