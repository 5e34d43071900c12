"""Trackers: one training that is interrupted and resumed, and is read back by each tracker's own reader."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import segrun
from segrun.errors import Interrupted, MissingExtraError, RequestError
from tests.conftest import QUICK, stopped_after

TRACKERS = [name for name in ("tensorboard", "wandb", "mlflow") if importlib.util.find_spec(name)]
QUIET = {"WANDB_SILENT": "true", "WANDB_CONSOLE": "off", "WANDB_ERROR_REPORTING": "false", "WANDB_MODE": "offline",
         "WANDB__DISABLE_STATS": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}  # fmt: skip
OWN = """
class Tracker:
    def __call__(self, folder):
        assert (folder / "config.yaml").is_file()
        return self.fail
    def fail(self, event):
        raise ConnectionError("the server is gone.\\nMore words.")
"""
Curves = dict[str, list[tuple[int, float]]]


@dataclass
class Read:
    """What a tracker holds. run_ids: of W&B and MLflow; status: how the run ended, in the tracker's own words."""

    curves: Curves
    results: dict[str, float]
    epochs: object  # of the config
    run_ids: set[str]
    status: object


def from_tensorboard(folder: Path) -> Read:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    curves = {name: [(e.step, e.value) for e in events.Scalars(name)] for name in events.Tags()["scalars"]}
    results = {name: curves.pop(name)[-1][1] for name in list(curves) if name.startswith("result/")}
    result = events.summary_metadata.get("_hparams_/session_start_info")
    begun = HParamsPluginData.FromString(result.plugin_data.content).session_start_info if result else None
    status = events.Tensors("ended/text_summary")[-1].tensor_proto.string_val[0].decode()
    return Read(curves, results, begun and begun.hparams["trainer.epochs"].number_value, set(), status)


def from_wandb(folder: Path) -> Read:
    read = Read({}, {}, None, set(), None)
    for path in sorted((folder / "wandb").glob("offline-run-*/*.wandb")):
        for record in records(path.read_bytes()):
            config = {item.key: json.loads(item.value_json) for item in record.run.config.update}
            read.run_ids |= {record.run.run_id} - {""}
            read.epochs = config.get("trainer", {}).get("epochs") or read.epochs
            row = {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item}
            for name, value in row.items():
                if name[0] != "_" and name != "epoch":
                    position = row["_step"] if name == "step/loss" else row["epoch"]
                    read.curves.setdefault(name, []).append((position, value))
            values = {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.summary.update}
            read.results |= {name: value for name, value in values.items() if name.startswith("result/")}
            if record.WhichOneof("record_type") == "exit":
                read.status = record.exit.exit_code
    return read


def records(data: bytes) -> Iterator[Any]:
    """Of W&B's offline file: LevelDB's log format (blocks of 32 KiB) behind a header of seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    at, whole = 7, b""
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last of several pieces
            yield Record.FromString(whole)
            whole = b""


def from_mlflow(folder: Path) -> Read:
    from mlflow import MlflowClient

    client = MlflowClient((folder.parents[2] / "store").as_uri())
    (experiment,) = client.search_experiments(filter_string="name = 'nuclei'")
    run, *others = client.search_runs([experiment.experiment_id])
    curves = {
        name: sorted((m.step, m.value) for m in client.get_metric_history(run.info.run_id, name))
        for name in run.data.metrics
    }
    results = {name: curves.pop(name)[-1][1] for name in list(curves) if name.startswith("result/")}
    run_ids = {other.info.run_id for other in (run, *others)}
    return Read(curves, results, int(run.data.params["trainer.epochs"]), run_ids, run.info.status)


READERS: dict[str, Callable[[Path], Read]] = {
    "tensorboard": from_tensorboard, "wandb": from_wandb, "mlflow": from_mlflow,
}  # fmt: skip


@dataclass
class Watched:
    folder: Path
    output: str  # on the terminal
    before: dict[str, Read]  # when it had been interrupted
    after: dict[str, Read]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A run of all trackers and one that fails, stopped in the second of two epochs, and resumed."""
    base = tmp_path_factory.mktemp("trackers")
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.chdir(base)
        patch.setenv("SEGRUN_CACHE", str(base / "cache"))
        patch.setattr(sys, "path", list(sys.path))
        for name, value in QUIET.items():
            patch.setenv(name, value)
        Path("own_tracker.py").write_text(OWN)
        words = [*QUICK, "strategy=scratch", "auxiliary=[presence]", "output=out", f"tracker=[{','.join(TRACKERS)}]"]
        words += ["+tracker.own={_target_:own_tracker.Tracker}"]
        words += ["tracker.wandb.mode=offline"] if "wandb" in TRACKERS else []
        if "mlflow" in TRACKERS:
            words += ["tracker.mlflow.tracking_uri=out/store", "tracker.mlflow.experiment=nuclei"]
        with stopped_after(3), pytest.raises(Interrupted):
            segrun.train(words)
        (folder,) = (base / "out" / "train").glob("*/*")
        before = {name: READERS[name](folder) for name in TRACKERS}
        segrun.train([f"resume={folder}", *(word for word in words if "tracker" in word)])
        yield Watched(folder, out.getvalue(), before, {name: READERS[name](folder) for name in TRACKERS})


def read(watched: Watched, tracker: str) -> Read:
    if tracker not in TRACKERS:
        pytest.skip(f"{tracker} is not installed")
    return watched.after[tracker]


def of_the_file(folder: Path) -> Curves:
    """What metrics.jsonl holds, under the documented names."""
    curves: Curves = {}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        values = {name: row[name] for name in ("loss", "seconds", "images_per_second")}
        for group in ("losses", "weights", "lr"):
            values |= {f"{group}/{name}": value for name, value in row[group].items()}
        ious = row["val"].pop("iou")
        values |= {f"val/{name}": v for name, v in row["val"].items()} | {f"val/iou/{c}": v for c, v in ious.items()}
        for name, value in values.items():
            if value is not None:
                curves.setdefault(name, []).append((row["epoch"], value))
    return curves


@pytest.mark.slow
@pytest.mark.parametrize("tracker", READERS)
def test_every_tracker_has_the_names_and_numbers_of_the_runs_own_file(watched: Watched, tracker: str) -> None:
    curves, expected = dict(read(watched, tracker).curves), of_the_file(watched.folder)
    steps = curves.pop("step/loss")
    assert {"losses/presence", "weights/mask", "lr/head.mask", "val/mdice", "val/loss"} <= set(expected)
    assert curves == {
        name: [(epoch, pytest.approx(v, rel=1e-6)) for epoch, v in values] for name, values in expected.items()
    }
    assert [step for step, _ in steps] == [1, 2, 3, 4]  # two per epoch, none of them twice
    losses = [loss for _, loss in steps]
    means = [(losses[0] + losses[1]) / 2, (losses[2] + losses[3]) / 2]
    assert means == pytest.approx([loss for _, loss in expected["loss"]], rel=1e-5)


@pytest.mark.parametrize("tracker", READERS)
def test_every_tracker_has_the_config_and_the_result(watched: Watched, tracker: str) -> None:
    recorded, result = read(watched, tracker), json.loads((watched.folder / "result.json").read_text())
    assert recorded.epochs == 2
    assert not watched.before[tracker].results
    expected = {
        "result/best_epoch": result["best_epoch"],
        "result/test/mdice": result["test"]["mdice"],
        "result/val/loss": result["val"]["loss"],
        "result/cost/steps": 4,
        "result/drift/head.mask": result["drift"]["head.mask"],
    }
    expected |= {f"result/test/iou/{name}": scores["iou"] for name, scores in result["test"]["per_class"].items()}
    assert {name: recorded.results.get(name) for name in expected} == {
        name: value if value is None else pytest.approx(value, rel=1e-6) for name, value in expected.items()
    }
    assert set(recorded.results) == set(watched.after[TRACKERS[0]].results)


@pytest.mark.parametrize("tracker", ["wandb", "mlflow"])
def test_a_training_that_goes_on_goes_on_in_the_same_run(watched: Watched, tracker: str) -> None:
    assert len(read(watched, tracker).run_ids) == 1
    assert watched.before[tracker].run_ids == watched.after[tracker].run_ids
    assert [step for step, _ in watched.before[tracker].curves["step/loss"]] == [1, 2, 3]


@pytest.mark.parametrize(
    ("tracker", "interrupted", "finished"),
    [("tensorboard", "interrupted", "finished"), ("wandb", 130, 0), ("mlflow", "KILLED", "FINISHED")],
)
def test_how_a_run_ended_is_marked(watched: Watched, tracker: str, interrupted: object, finished: object) -> None:
    assert read(watched, tracker).status == finished
    assert watched.before[tracker].status == interrupted


def test_a_tracker_that_is_lost_is_said_once_a_training_and_costs_nothing(watched: Watched) -> None:
    assert watched.output.count("tracker own failed: ConnectionError: the server is gone. The run continues") == 2
    assert watched.output.count("tracker own") == 2
    assert "More words" not in watched.output


@pytest.mark.parametrize("tracker", READERS)
def test_a_missing_extra_is_named_before_anything_is_written(
    tracker: str, monkeypatch: pytest.MonkeyPatch, elsewhere: Path
) -> None:
    monkeypatch.setitem(sys.modules, tracker, None)
    with pytest.raises(MissingExtraError, match=rf"^{tracker} is not installed: pip install 'segrun\[{tracker}\]'$"):
        segrun.train([*QUICK, "strategy=scratch", f"tracker=[{tracker}]"])
    assert not (elsewhere / "outputs").exists()


def test_an_unknown_mode_of_wandb_is_refused() -> None:
    with pytest.raises(
        RequestError, match=r"^tracker\.wandb\.mode=ofline: must be one of online, offline, disabled, or null\.$"
    ):
        segrun.train([*QUICK, "tracker=[wandb]", "tracker.wandb.mode=ofline"])
