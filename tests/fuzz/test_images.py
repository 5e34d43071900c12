"""300 damaged or unusual images and masks end in a result or in a message that segrun knows."""

from __future__ import annotations

from pathlib import Path

import pytest

import segrun
from tests.conftest import QUICK
from tests.fuzz.commands import forks, run_command
from tests.fuzz.images import write_folder

SAMPLE = [pytest.param(seed, marks=pytest.mark.slow) for seed in range(6)]
OTHERS = [pytest.param(seed, marks=pytest.mark.long) for seed in range(6, 100)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("runs")
    return segrun.train([*QUICK, "strategy=scratch", "trainer.epochs=1", f"output={output}"]).checkpoint


@forks
@pytest.mark.parametrize("seed", [*SAMPLE, *OTHERS])
def test_damaged_files_are_named_and_the_rest_is_used(seed: int, trained: Path, tmp_path: Path) -> None:
    damaged = write_folder(tmp_path / "data", seed)
    dataset = ["dataset=folder", f"dataset.root={tmp_path}/data", "dataset.classes=[background,object]"]
    for words in (
        ["check", *dataset],
        ["train", *dataset, *(word for word in QUICK if not word.startswith("dataset.")), "strategy=scratch"],
        ["predict", f"checkpoint={trained}", "input=data/images", "output=masks"],
    ):
        outcome = run_command(words, tmp_path)
        assert not outcome.faults(), f"{words[0]}: {outcome.faults()}\n{outcome.output}"
    whole = [path for path in (tmp_path / "data" / "images").iterdir() if path not in damaged]
    assert all((tmp_path / "masks" / f"{path.stem}.png").is_file() for path in whole)
