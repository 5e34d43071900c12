"""Words of the command line become a config; what does not fit is refused by name."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from packaging.version import Version

from segrun.config.compose import compose
from segrun.errors import RequestError
from tests.conftest import QUICK


def test_what_has_no_value_is_named_with_the_cure() -> None:
    with pytest.raises(RequestError, match=r"^dataset\.root has no value: give dataset\.root=…$"):
        compose("train", ["dataset=folder"])


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("trainer.epocs=3", r"no key 'trainer\.epocs'.*Did you mean trainer\.epochs"),
        ("strategy=finetun", r"strategy has no option 'finetun'.*Did you mean finetune"),
        ("backbon=resnet18", r"backbon"),
        ("trainer.epochs=[1", r"."),
    ],
)
def test_a_word_that_does_not_fit_is_a_request_error(word: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        compose("train", [word])


def test_words_that_ask_for_a_sweep_are_refused_where_one_training_is_expected() -> None:
    assert compose("train", ["search=rates"])["names"]["search"] == "rates"
    with pytest.raises(RequestError, match=r"search=rates: asks for several trainings.*segrun train -m"):
        compose("train", ["search=rates"], single=True)


def test_the_config_names_its_options_and_the_words_that_changed_it() -> None:
    values = compose("train", ["strategy=l2sp", "seed=3"])
    assert values["names"]["strategy"] == "l2sp" and values["asked"] == ["strategy=l2sp", "seed=3"]


@pytest.mark.parametrize("words", [["strategy=l2sp"], ["strategy=finetun"], ["trainer.epochs=[1"]])
def test_the_callers_hydra_is_left_as_it_was(elsewhere: Path, words: list[str]) -> None:
    (elsewhere / "mine.yaml").write_text("a: 1\n")
    with hydra.initialize_config_dir(str(elsewhere), version_base="1.2"):
        callers = GlobalHydra.instance(), GlobalHydra.instance().hydra
        with contextlib.suppress(RequestError):
            compose("train", words)
        assert (GlobalHydra.instance(), GlobalHydra.instance().hydra) == callers
        assert hydra.version.getbase() == Version("1.2")
        assert hydra.compose("mine") == {"a": 1}
    assert not GlobalHydra.instance().is_initialized()


@pytest.mark.slow
def test_segrun_train_works_inside_a_sweep_of_the_callers_hydra(elsewhere: Path) -> None:
    (elsewhere / "app.py").write_text(f"""
import hydra, segrun
from hydra.core.hydra_config import HydraConfig

@hydra.main(version_base="1.3", config_path=None)
def main(config):
    result = segrun.train([*{QUICK!r}, "strategy=scratch", "trainer.epochs=1", f"seed={{config.seed}}"])
    print("job", HydraConfig.get().job.num, result.folder.parts[:2])

main()
""")
    words = ["-m", "+seed=0,1", "hydra.output_subdir=null", "hydra/job_logging=none", "hydra/hydra_logging=none"]
    done = subprocess.run([sys.executable, "app.py", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("job")] == [
        "job 0 ('outputs', 'train')",
        "job 1 ('outputs', 'train')",
    ]
