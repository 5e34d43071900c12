import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from segrun.data.read.intensity import IntensitySettings
from segrun.data.read.raw import read_raw
from segrun.data.sets.microscopy import Microscopy
from segrun.errors import DataError, MissingExtraError, RequestError
from tests.data.sets.config import from_config
from tests.data.sets.test_mask_files import png

tifffile = pytest.importorskip("tifffile")
VALUES = (np.arange(5 * 4 * 6).reshape(5, 4, 6) * 300).astype(np.uint16)  # five channels of 4×6


def saved(values: NDArray[Any], name: str = "image.tif", **options: Any) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, values, **options)
    return path


def test_channels_first_channels_last_and_bare_pages_are_read_alike() -> None:
    paths = [
        saved(VALUES, "planes.tif", metadata={"axes": "CYX"}, photometric="minisblack"),
        saved(VALUES, "fiji.tif", imagej=True, metadata={"axes": "CYX"}),
        saved(VALUES, "ome.tif", ome=True, metadata={"axes": "CYX"}, photometric="minisblack"),
        saved(VALUES.transpose(1, 2, 0), "pixels.tif", photometric="minisblack", planarconfig="contig"),
        saved(VALUES, "samples.tif", photometric="minisblack", planarconfig="separate"),
        saved(VALUES, "pages.tif", photometric="minisblack", metadata=None),
    ]
    axes = [tifffile.TiffFile(path).series[0].axes for path in paths]
    assert axes == ["CYX", "CYX", "CYX", "YXS", "SYX", "IYX"]
    for path in paths:
        values = read_raw(path, 5)
        assert values.dtype == np.float32
        assert np.array_equal(values, VALUES), path


@pytest.mark.parametrize("kind", ["uint8", "uint16", "int16", "uint32", "float32"])
def test_grey_of_any_type_keeps_its_values(kind: str) -> None:
    values = (VALUES[:1] / 300).astype(kind)
    assert np.array_equal(read_raw(saved(values[0]), 1), values)


def test_colours_of_a_picture_are_its_channels() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    Image.fromarray(rgb).save("rgb.png")
    assert np.array_equal(read_raw(Path("rgb.png"), 3), rgb.transpose(2, 0, 1))
    assert np.array_equal(read_raw(saved(rgb, photometric="rgb"), 3), rgb.transpose(2, 0, 1))
    Image.fromarray(VALUES[0]).save("grey16.png")
    assert np.array_equal(read_raw(Path("grey16.png"), 1)[0], VALUES[0])


def test_compressed_files_are_read() -> None:
    pytest.importorskip("imagecodecs")
    path = saved(VALUES, metadata={"axes": "CYX"}, photometric="minisblack", compression="lzw")
    assert np.array_equal(read_raw(path, 5), VALUES)


@pytest.mark.parametrize("axes", ["ZYX", "TYX"])
def test_stacks_of_depth_or_time_are_refused(axes: str) -> None:
    path = saved(VALUES, imagej=True, metadata={"axes": axes})
    with pytest.raises(DataError, match=rf"uint16 values along {axes} \(Z depth, T time\)"):
        read_raw(path, 5)


def test_a_stack_with_channels_is_refused() -> None:
    path = saved(VALUES[None].repeat(2, 0), ome=True, metadata={"axes": "ZCYX"}, photometric="minisblack")
    with pytest.raises(DataError, match="along ZCYX"):
        read_raw(path, 5)


def test_another_number_of_channels_is_refused_with_both() -> None:
    with pytest.raises(DataError, match="has 5 channels, 3 channels are expected"):
        read_raw(saved(VALUES, metadata={"axes": "CYX"}, photometric="minisblack"), 3)


def test_values_that_stand_for_others_are_refused() -> None:
    palette = np.zeros((3, 256), np.uint16)
    with pytest.raises(DataError, match="stored as PALETTE"):
        read_raw(saved(VALUES[0].astype(np.uint8), photometric="palette", colormap=palette), 1)
    with pytest.raises(DataError, match="stored as MINISWHITE"):
        read_raw(saved(VALUES[0], photometric="miniswhite"), 1)
    with pytest.raises(DataError, match="stored as orientation 6"):
        read_raw(saved(VALUES[0], extratags=[(274, "H", 1, 6, True)]), 1)
    Image.fromarray(VALUES[0].astype(np.uint8)).convert("P").save("palette.png")
    with pytest.raises(DataError, match="stored as a palette"):
        read_raw(Path("palette.png"), 1)
    with pytest.raises(DataError, match="complex64"):
        read_raw(saved(VALUES[0].astype(np.complex64)), 1)


def test_colours_of_16_bits_that_pillow_reduces_to_8_are_refused() -> None:
    png(Path("deep.png"), VALUES[:3].transpose(1, 2, 0), colour_type=2)
    with pytest.raises(DataError, match=r"deep\.png: has 16 bits per channel, of which Pillow keeps 8"):
        read_raw(Path("deep.png"), 3)


def test_an_orientation_that_is_ignored_leaves_the_stored_pixels() -> None:
    for kind in ("images", "masks"):
        saved(
            VALUES[0] if kind == "images" else VALUES[0] % 2, f"cells/{kind}/a.tif", extratags=[(274, "H", 1, 3, True)]
        )
    data = microscopy(channels=1, intensity=IntensitySettings("fixed", 0, 65535), exif="ignore")
    np.testing.assert_allclose(data.image("a")[0] * 65535, VALUES[0], atol=0.01)
    assert np.array_equal(data.mask("a"), VALUES[0] % 2)
    read = Microscopy.raw_reader({"exif": "ignore"}, 1)
    assert np.array_equal(read(Path("cells/images/a.tif"))[0], VALUES[0])


def test_several_images_in_one_file_are_refused() -> None:
    with tifffile.TiffWriter("two.tif") as file:
        file.write(VALUES[0])
        file.write(VALUES[0, :2])
    with pytest.raises(DataError, match="holds 2 images"):
        read_raw(Path("two.tif"), 1)


def test_what_is_no_tiff_is_said_by_name() -> None:
    Path("no.tif").write_bytes(b"hello")
    with pytest.raises(DataError, match=r"no\.tif: cannot be read as TIFF"):
        read_raw(Path("no.tif"), 1)
    with pytest.raises(DataError, match=r"gone\.tif: there is no such file"):
        read_raw(Path("gone.tif"), 1)
    whole = saved(np.ones((90, 90), np.uint16)).read_bytes()
    Path("half.tif").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"half\.tif: cannot be read as TIFF"):
        read_raw(Path("half.tif"), 1)


def test_without_the_extra_the_line_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'segrun\[microscopy\]'"):
        read_raw(Path("image.tif"), 1)


def microscopy(**changed: Any) -> Microscopy:
    scaling = IntensitySettings("fixed", 0, [1000, 2000, 4000, 8000, 16000])
    options: dict[str, Any] = {"root": "cells", "classes": ["ground", "cell"], "masks": "auto", "ignore_index": 255}
    return Microscopy(**{**options, "allow_unpaired": False, "channels": 5, "intensity": scaling, **changed})


def test_a_folder_of_five_channels_is_scaled_a_channel_and_keeps_its_splits() -> None:
    label = np.zeros((4, 6), np.uint16)
    label[1, 2] = 1
    for place in ("train/images/a", "val/images/b"):
        saved(VALUES, f"cells/{place}.tif", metadata={"axes": "CYX"}, photometric="minisblack")
        saved(label, f"cells/{place.replace('images', 'masks')}.tif")
    data = microscopy()
    assert data.splits == {"train": ("train/a",), "val": ("val/b",)}
    sample = data.sample("train/a")
    ends = np.array([1000, 2000, 4000, 8000, 16000])[:, None, None]
    np.testing.assert_allclose(sample.image, np.clip(VALUES / ends, 0, 1), rtol=1e-6)
    assert sample.mask.dtype == torch.uint8
    assert np.array_equal(sample.mask, label)
    with pytest.raises(DataError, match="has 5 channels, 2 channels"):
        microscopy(channels=2, intensity=IntensitySettings("image", 0, 100)).image("train/a")


def test_no_channels_are_refused() -> None:
    with pytest.raises(RequestError, match=r"dataset\.channels=0: must be a whole number of at least 1"):
        from_config("dataset=microscopy", "dataset.root=cells", "dataset.channels=0")
