"""Image files of every kind are read correctly, or refused by name."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segrun.data.read import images
from segrun.data.read.images import open_image, read_image
from segrun.data.read.masks import read_mask_values
from segrun.errors import DataError, UnreadableError

RAMP = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
COLOURS = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], axis=2)


def saved(array: np.ndarray, name: str, mode: str | None = None, **options: object) -> Path:
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(name, **options)
    return Path(name)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp", "ppm"])
def test_lossless_formats_give_the_very_pixels(suffix: str) -> None:
    image = read_image(saved(COLOURS, f"x.{suffix}", **({"lossless": True} if suffix == "webp" else {})))
    assert image.dtype == torch.uint8
    assert np.array_equal(image.permute(1, 2, 0), COLOURS)


def test_grey_is_repeated() -> None:
    assert np.array_equal(read_image(saved(RAMP, "x.png")), np.stack([RAMP] * 3))


def test_alpha_is_dropped_and_the_colours_below_it_stay() -> None:
    array = np.dstack([COLOURS, np.full((3, 4), 7, np.uint8)])
    assert np.array_equal(read_image(saved(array, "x.png")).permute(1, 2, 0), COLOURS)


def test_grey_with_alpha_is_grey() -> None:
    image = Image.merge("LA", (Image.fromarray(RAMP), Image.new("L", (4, 3), 9)))
    image.save("x.png")
    assert np.array_equal(read_image(Path("x.png")), np.stack([RAMP] * 3))


@pytest.mark.parametrize("transparent", [None, 1])
def test_a_palette_is_looked_up(transparent: int | None) -> None:
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8)).convert("P")
    image.putpalette([10, 20, 30, 200, 100, 50, 1, 2, 3])
    image.save("x.png", **({} if transparent is None else {"transparency": transparent}))
    result = read_image(Path("x.png")).permute(1, 2, 0).tolist()
    assert result == [[[10, 20, 30], [200, 100, 50]], [[1, 2, 3], [200, 100, 50]]]


def test_one_bit_is_black_and_white() -> None:
    path = saved(np.array([[0, 255], [255, 0]], np.uint8), "x.png", "1")
    assert read_image(path)[1].tolist() == [[0, 255], [255, 0]]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_keep_their_precision(suffix: str) -> None:
    array = np.array([[0, 1], [300, 65535]], np.uint16)
    image = read_image(saved(array, f"x.{suffix}"))
    assert image.dtype == torch.float32 and image.shape == (3, 2, 2)
    assert np.array_equal((image * 65535).round()[2], array)


def test_floats_are_taken_as_they_are() -> None:
    array = np.array([[0, 0.25], [0.5, 1]], np.float32)
    assert np.array_equal(read_image(saved(array, "x.tif"))[0], array)


@pytest.mark.parametrize("value", [-0.1, 1.5, 255, float("nan"), float("inf")])
def test_floats_beyond_0_to_1_are_refused(value: float) -> None:
    path = saved(np.array([[0, value]], np.float32), "x.tif")
    with pytest.raises(DataError, match=r"x\.tif: values reach outside 0…1"):
        read_image(path)


def test_integers_beyond_16_bits_are_refused() -> None:
    path = saved(np.array([[0, 70000]], np.int32), "x.tif")
    with pytest.raises(DataError, match=r"x\.tif: values reach outside 0…65535"):
        read_image(path)


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [(1, RAMP), (2, RAMP[:, ::-1]), (3, RAMP[::-1, ::-1]), (6, np.rot90(RAMP, -1)), (8, np.rot90(RAMP))],
)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_exif_rotation_is_carried_out(
    orientation: int, upright: np.ndarray, suffix: str, kind: type[np.number]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(RAMP.astype(kind), f"x.{suffix}", exif=exif)
    assert np.array_equal(read_mask_values(path), upright)
    assert np.array_equal((read_image(path)[0] * (1 if kind is np.uint8 else 65535)).round(), upright)


def test_exif_rotation_of_colours_is_carried_out() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(COLOURS, "x.tif", exif=exif)
    assert np.array_equal(read_image(path).permute(1, 2, 0), np.rot90(COLOURS, -1))


def test_a_missing_file_is_named() -> None:
    with pytest.raises(DataError, match=r"gone\.png: there is no such file"):
        open_image(Path("gone.png"))


@pytest.mark.parametrize("content", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_a_file_that_is_no_image_is_named(content: bytes) -> None:
    Path("x.png").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.png: cannot be read as an image \(.+\)"):
        read_image(Path("x.png"))


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp"])
def test_a_truncated_file_is_named(suffix: str) -> None:
    path = saved(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8), f"x.{suffix}")
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(DataError, match=rf"x\.{suffix}: cannot be read as an image"):
        read_image(path)


def test_a_picture_beyond_our_limit_is_refused_with_the_true_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(np.zeros((2000, 1000), np.uint8), "x.png")
    monkeypatch.setattr(images, "MAX_PIXELS", 1_000_000)
    with pytest.raises(DataError, match=r"x\.png: is 1000×2000, 2 megapixels; at most 1 are read at once"):
        read_image(path)


def test_pillows_limit_does_not_count_and_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(RAMP, "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    assert np.array_equal(read_image(path)[0], RAMP)
    assert Image.MAX_IMAGE_PIXELS == 5
    with pytest.raises(Image.DecompressionBombError):
        Image.open(path)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_several_pictures_in_one_file_are_refused(kind: str) -> None:
    frames = [Image.fromarray(values) for values in (RAMP, 255 - RAMP)]
    frames[0].save("x.png", kind, save_all=True, append_images=frames[1:])
    with pytest.raises(UnreadableError, match=r"x\.png: holds 2 pictures \(pages or frames\)"):
        read_image(Path("x.png"))


def test_the_preview_in_a_cameras_mpo_is_no_second_picture() -> None:
    frames = [Image.fromarray(np.full((16, 16, 3), value, np.uint8)) for value in (200, 10)]
    frames[0].save("x.jpg", "MPO", save_all=True, append_images=frames[1:])
    assert read_image(Path("x.jpg")).unique().tolist() == [200]


def test_wide_planes_that_pillow_misreads_are_refused() -> None:
    tifffile = pytest.importorskip("tifffile")
    values = np.arange(300, dtype=np.uint16).reshape(3, 10, 10)
    tifffile.imwrite("x.tif", values, photometric="rgb", planarconfig="separate")
    with pytest.raises(UnreadableError, match=r"x\.tif: holds planes of more than 8 bits"):
        read_image(Path("x.tif"))


def test_no_other_program_decodes_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs: list[object] = []
    monkeypatch.setattr("subprocess.Popen.__init__", lambda self, *words, **options: programs.append(words))
    monkeypatch.setattr("shutil.which", lambda name, **options: f"/usr/bin/{name}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", "gs")
    path = tmp_path / "photo.png"
    Image.new("RGB", (4, 4)).save(path, "EPS")
    with contextlib.suppress(Exception), Image.open(path) as image:
        image.load()
    assert programs  # Pillow by itself calls Ghostscript
    programs.clear()
    with pytest.raises(UnreadableError, match=r"photo.png: cannot be read as an image .it is none of .*PNG"):
        open_image(path)
    assert not programs
