"""The command line itself: help, completion, errors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from segrun import cli
from segrun.errors import RequestError, SegrunError


def segrun(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "segrun", *words]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **env})


def test_segrun_alone_lists_commands_and_examples() -> None:
    for words in ((), ("--help",)):
        done = segrun(*words)
        assert done.returncode == 0
        assert all(command in done.stdout for command in ("train", "eval", "predict", "plan", "strategy=finetune"))


@pytest.mark.parametrize("command", ["train", "eval", "predict", "plan"])
def test_help_behind_a_command_names_every_group_and_key(command: str) -> None:
    done = segrun(command, "--help")
    assert done.returncode == 0
    keys = {"train": "trainer.epochs=12", "plan": "freeze", "eval": "checkpoint=", "predict": "overlay=false"}
    assert keys[command] in done.stdout


def test_help_shows_options_of_a_config_dir(elsewhere: Path) -> None:
    (elsewhere / "my" / "head").mkdir(parents=True)
    (elsewhere / "my" / "head" / "mine.yaml").write_text("# My own head: segrun train head=mine\na: 1\n")
    assert "My own head" in segrun("train", "--config-dir", "my", "--help").stdout


def test_cfg_job_prints_the_config_and_imports_no_torch() -> None:
    code = "import sys\nfrom segrun.cli import main\ntry: main(['train', '--cfg', 'job'])\n"
    code += "finally: assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and "_target_: segrun.transfer.strategies.finetune.Finetune" in done.stdout


@pytest.mark.parametrize("line", ["segrun tra", "segrun train strategy=", "segrun plan head=u", "segrun predict ov"])
def test_completion_completes_behind_every_command(line: str) -> None:
    done = segrun("-sc", "query=bash", COMP_LINE=line, COMP_POINT=str(len(line)))
    expected = {"tra": "train", "strategy=": "strategy=finetune", "head=u": "head=unet", "ov": "overlay="}
    assert expected[line.split()[-1]] in done.stdout


def test_an_unknown_command_names_the_closest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["trian"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == "segrun: 'trian' is not a command. Did you mean train?\n"


def test_a_value_that_is_missing_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in ((["train", "dataset=folder"], "dataset.root has no value"), (["eval"], "give checkpoint=…")):
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        assert ended.value.code == 2
        assert message in capsys.readouterr().err


def test_a_traceback_only_comes_when_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "dispatch", lambda words: 1 // 0)
    with pytest.raises(SystemExit) as ended:
        cli.main([])
    assert ended.value.code == 1
    assert "SEGRUN_DEBUG=1" in capsys.readouterr().err
    monkeypatch.setenv("SEGRUN_DEBUG", "1")
    with pytest.raises(SegrunError) as error:
        cli.main([])
    assert isinstance(error.value.__context__, ZeroDivisionError)


def test_a_wrong_request_and_a_failure_have_their_own_exit_status(monkeypatch: pytest.MonkeyPatch) -> None:
    for error, status in ((RequestError("x"), 2), (SegrunError("x"), 1), (KeyboardInterrupt(), 130)):

        def dispatch(words: list[str], error: BaseException = error) -> int:
            raise error

        monkeypatch.setattr(cli, "dispatch", dispatch)
        with pytest.raises(SystemExit) as ended:
            cli.main([])
        assert ended.value.code == status


def test_the_plan_is_shown_without_training(elsewhere: Path) -> None:
    done = segrun("plan", "strategy=scratch", "trainer.epochs=7")
    assert done.returncode == 0, done.stderr
    assert "epochs 1–7" in done.stdout and "head.mask" in done.stdout
    assert not (elsewhere / "outputs").exists()
