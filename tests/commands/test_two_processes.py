"""Two processes learn what one does: across an unfreezing, and with several tasks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import segrun
from tests.commands.test_train import state
from tests.conftest import QUICK

timm = pytest.importorskip("timm", reason="extra timm")
pytestmark = pytest.mark.slow  # two more interpreters that import torch

# no batch statistics and no dropout, which each process would have of its own; SGD, since Adam makes steps of rounding
TINY = [
    *(w for w in QUICK if not w.startswith(("dataset.test", "head", "augment"))),
    "head=linear", "dataset.test=0", "augment=light", "trainer.steps=6", "optimizer=sgd", "optimizer.lr=0.2",
    "backbone=timm", "backbone.name=test_efficientnet", "strategy.statistics=false",
]  # fmt: skip
# heads without batch norm
SEVERAL = ["strategy=multitask", "freeze=norms", "auxiliary=[presence,reconstruction]", "auxiliary.presence.dropout=0"]
CASES = {
    "unfrozen": ["strategy=l2sp", "freeze=head_first", "freeze.epochs=1", "trainer.ema=0.9", "trainer.accumulate=2"],
    "distilled": ["strategy=distill", "freeze.epochs=1"],
    "pcgrad": [*SEVERAL, "balance=pcgrad"],
    "uncertainty": [*SEVERAL, "balance=uncertainty"],
    "gradnorm": [*SEVERAL, "balance=gradnorm"],
}


EACH = "import json, sys, segrun\nfor words in json.loads(sys.argv[1]):\n    segrun.train(words)\n"


def asked(case: str, folder: Path) -> list[str]:
    return [*TINY, *CASES[case], f"backbone.weights={folder / 'pretrained.pth'}"]


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pretrained weights and, by case, the run of two processes, which have all in turn."""
    folder = tmp_path_factory.mktemp("two")
    torch.save(timm.create_model("test_efficientnet").state_dict(), folder / "pretrained.pth")
    (folder / "each.py").write_text(EACH)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=0", "--standalone"]
    words = [[*asked(case, folder), f"output={folder / case}"] for case in CASES]
    done = subprocess.run([*launch, str(folder / "each.py"), json.dumps(words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.mark.parametrize("case", CASES)
def test_two_processes_learn_what_one_does(case: str, two_processes: Path) -> None:
    one = segrun.train(asked(case, two_processes)).folder
    (two,) = (path.parent for path in (two_processes / case).rglob("last.ckpt"))
    rows = [[json.loads(row) for row in (f / "metrics.jsonl").read_text().splitlines()] for f in (one, two)]
    assert len(rows[0]) == 2
    for single, double in zip(*rows, strict=True):
        for key in ("losses", "weights"):
            assert single[key] == pytest.approx(double[key], rel=1e-4)
        assert single["val"]["loss"] == pytest.approx(double["val"]["loss"], rel=1e-4)
    start = torch.load(two_processes / "pretrained.pth", weights_only=True)
    weights = [state(folder)["weights"] for folder in (one, two)]
    for name, value in weights[0].items():
        other, before = weights[1][name], start.get(name.removeprefix("backbone.net."))
        if before is None or torch.equal(value, before):
            torch.testing.assert_close(value, other, rtol=1e-3, atol=1e-5, msg=lambda text, n=name: f"{n}: {text}")
        else:  # against how far it has gone
            assert float((value - other).norm()) < 0.02 * float((value - before).norm()), name
    assert not torch.equal(weights[0]["backbone.net.conv_stem.weight"], start["conv_stem.weight"])
