"""What all published data sets share: they compose and build, say what is missing, and are fetched when asked to."""

from __future__ import annotations

import functools
import hashlib
import io
import pickle
import tarfile
import threading
from collections.abc import Iterator, Mapping
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import voc

from segrun.data.dataset import Dataset
from segrun.data.sets.ade20k import ADE20K
from segrun.data.sets.cityscapes import Cityscapes
from segrun.data.sets.pet import Pet
from segrun.data.sets.public import PublishedDataset, map_values
from segrun.data.sets.sbd import SBD
from segrun.data.sets.voc import VOC
from segrun.errors import DataError, RequestError
from segrun.types import VOID
from tests.data.sets import layouts
from tests.data.sets.config import from_config

LAYOUTS = {
    "voc": layouts.voc, "sbd": layouts.sbd, "cityscapes": layouts.cityscapes, "ade20k": layouts.ade20k,
    "pet": layouts.pet,
}  # fmt: skip


def opened(name: str, root: object, download: bool = False) -> PublishedDataset:
    return {
        "voc": lambda: VOC(root and str(root), download),
        "sbd": lambda: SBD(root and str(root), None, download),
        "cityscapes": lambda: Cityscapes(root and str(root)),
        "ade20k": lambda: ADE20K(root and str(root)),
        "pet": lambda: Pet(root and str(root), "void", download),
    }[name]()


@pytest.mark.parametrize("name", LAYOUTS)
def test_its_config_composes_and_builds_and_every_image_reads(name: str) -> None:
    root = LAYOUTS[name]()
    data = from_config(f"dataset={name}", f"dataset.root={root}")
    assert isinstance(data, Dataset) and data.splits["train"]
    assert sorted(data.names) == sorted(name for names in data.splits.values() for name in names)
    for image_name in data.names:
        sample = data.sample(image_name)
        assert sample.image.shape == (3, *sample.mask.shape)
        assert all(path.is_file() for path in data.files(image_name))
    assert pickle.loads(pickle.dumps(data)).names == data.names


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_published_image_is_read_as_stored_whatever_its_header_says_of_turning(name: str) -> None:
    data = opened(name, LAYOUTS[name]())
    first = data.names[0]
    path = data.files(first)[0]
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.open(path).copy().save(path, exif=exif)
    assert Image.open(path).getexif()[0x0112] == 6
    assert data.sample(first).image.shape[-2:] == layouts.SIZE


@pytest.mark.parametrize("name", LAYOUTS)
def test_each_part_of_the_layout_is_missed_by_name(name: str) -> None:
    data = opened(name, LAYOUTS[name]())
    for part in data.required:
        (data.root / part).rename("away")
        with pytest.raises(RequestError, match=rf"lacks {part} there\. .*{data.source[:20]}"):
            opened(name, data.root)
        Path("away").rename(data.root / part)


@pytest.mark.parametrize("name", LAYOUTS)
def test_without_a_folder_it_says_where_the_data_are_had(name: str) -> None:
    where = {"cityscapes": "login at www.cityscapes-dataset.com", "ade20k": "data.csail.mit.edu"}
    for root, message in (
        (None, "dataset.root has no value"),
        ("nowhere", "dataset.root=nowhere: there is no such folder"),
    ):
        with pytest.raises(
            RequestError, match=rf"{message}.*{where.get(name, 'dataset.download=true fetches it from')}"
        ):
            opened(name, root)


@pytest.mark.parametrize("name", LAYOUTS)
def test_files_that_are_missing_are_counted_and_refused(name: str) -> None:
    data = opened(name, LAYOUTS[name]())
    assert not data.problems
    for path in (path for image_name in data.splits["train"] for path in data.files(image_name)[1:]):
        path.unlink()
    (problem, *_) = opened(name, data.root).problems
    count = len(data.splits["train"])
    assert str(count) in problem and data.files(data.splits["train"][0])[1].stem.partition("_gt")[0] in problem
    with pytest.raises(DataError, match="Unpack"):
        from_config(f"dataset={name}", f"dataset.root={data.root}")


def test_a_split_without_images_is_refused_and_not_drawn() -> None:
    data = opened("cityscapes", layouts.cityscapes())
    for name in data.splits["val"]:
        for path in data.files(name):
            path.unlink()
    assert opened("cityscapes", data.root).problems == [
        f"{data.root}: Cityscapes has no image for val there. Unpack the archive again."
    ]


@pytest.mark.parametrize(
    ("values", "message"), [([[0, 5], [5, 9]], r"5 \(2 pixels\), 9 \(1 pixels\)"), ([[-1, 0]], "-1")]
)
def test_values_that_the_publisher_does_not_know_are_refused(values: list[list[int]], message: str) -> None:
    codes: Mapping[int, int] = {0: 0, 1: 1, 7: VOID}
    assert map_values(np.array([[0, 1], [7, 0]]), Path("a.png"), codes).tolist() == [[0, 1], [VOID, 0]]
    with pytest.raises(DataError, match=rf"a\.png: values .* not use: {message}"):
        map_values(np.array(values), Path("a.png"), codes)


def test_a_mask_in_colours_is_refused() -> None:
    data = VOC(str(layouts.voc()), download=False)
    layouts.put(data.pairs["a"][1], np.full((4, 5, 3), (128, 0, 0)))
    with pytest.raises(DataError, match=r"a\.png: a mask in colours"):
        data.mask("a")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """VOC's address is one on this machine, which serves a small archive of it; gives what it was asked for."""
    requests: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_request(self, *_: object) -> None:
            requests.append(f"{self.command} {self.path}")

    served = Path("served")
    served.mkdir()
    with tarfile.open(served / "voc.tar", "w") as archive:
        archive.add(layouts.voc("packed") / "VOCdevkit", "VOCdevkit")
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(served))) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        monkeypatch.setitem(voc.DATASET_YEAR_DICT, "2012", {
            "url": f"http://127.0.0.1:{http.server_port}/voc.tar", "filename": "voc.tar",
            "md5": hashlib.md5((served / "voc.tar").read_bytes()).hexdigest(), "base_dir": "VOCdevkit/VOC2012",
        })  # fmt: skip
        yield requests
        http.shutdown()


def test_what_is_not_there_is_fetched_once(server: list[str]) -> None:
    words = ["dataset=voc", "dataset.root=new/folder", "dataset.download=true"]
    counts = []
    for _ in range(2):
        data = from_config(*words)
        assert data.splits == {"train": ("a", "b"), "val": ("c",)} and data.mask("a").shape == (4, 5)
        counts.append(len(server))
    assert counts[0] == counts[1] > 0 and set(server) == {"GET /voc.tar"}


def test_nothing_is_fetched_where_the_files_are(server: list[str]) -> None:
    VOC("packed", download=True)
    assert not server


def test_an_archive_with_another_checksum_is_refused(server: list[str]) -> None:
    Path("served/voc.tar").write_bytes(b"something else")
    with pytest.raises(RequestError, match=r"PASCAL VOC 2012 cannot be fetched \(File not found or corrupted"):
        VOC("new", download=True)


@pytest.mark.parametrize("name", ["voc", "sbd", "pet"])
def test_without_a_network_the_host_and_the_cure_are_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> io.BytesIO:
        raise OSError("tests have no network")

    monkeypatch.setattr("urllib.request.urlopen", refused)
    with pytest.raises(RequestError) as caught:
        opened(name, "new", download=True)
    message = str(caught.value)
    assert "(tests have no network)" in message and "yourself" in message and "\n" not in message
    assert type(opened(name, LAYOUTS[name]())).host in message


def test_a_root_that_cannot_be_made_is_refused() -> None:
    Path("file").write_text("")
    with pytest.raises(RequestError, match=r"dataset\.root=file: cannot be created \(File exists\)"):
        VOC("file", download=True)
