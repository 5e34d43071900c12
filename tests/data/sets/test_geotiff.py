"""GeoTIFFs: tiles that make up the raster again, nodata, and headers that do not fit."""

from __future__ import annotations

import contextlib
import pickle
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader

from segrun.data.read.intensity import IntensitySettings
from segrun.data.scan.checks import refuse_mixed_masks
from segrun.data.scan.scan import scan_all
from segrun.data.sets.geotiff import GeoTiff
from segrun.errors import DataError, RequestError
from segrun.types import VOID
from tests.data.sets.config import from_config

rasterio = pytest.importorskip("rasterio")
from rasterio.control import GroundControlPoint  # noqa: E402
from rasterio.enums import ColorInterp  # noqa: E402
from rasterio.rpc import RPC  # noqa: E402
from rasterio.transform import from_origin  # noqa: E402

FIXED = IntensitySettings("fixed", 0, 1000)
HERE = from_origin(500_000, 5_000_000, 10, 10)
UTM = "EPSG:32633"


def put(path: Path | str, values: NDArray[Any], **header: Any) -> Path:
    """A GeoTIFF of (bands, H, W) or (H, W) values, stored in blocks of 16, in UTM unless said otherwise."""
    bands = values if values.ndim == 3 else values[None]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    header = {"crs": UTM, "transform": HERE, "tiled": True, "blockxsize": 16, "blockysize": 16, **header}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(
            path, "w", driver="GTiff", count=len(bands), height=bands.shape[1], width=bands.shape[2],
            dtype=bands.dtype, **header,
        ) as file:  # fmt: skip
            file.write(bands)
    return Path(path)


def counting(bands: int, height: int, width: int) -> NDArray[np.uint16]:
    """No value twice."""
    return np.arange(1, 1 + bands * height * width, dtype=np.uint16).reshape(bands, height, width)


def scene(
    name: str = "a", image: NDArray[Any] | None = None, mask: NDArray[Any] | None = None, root: str = "data",
    mask_header: Mapping[str, Any] | None = None, **header: Any,
) -> None:  # fmt: skip
    image = counting(2, 10, 13) if image is None else image
    mask = np.zeros(image.shape[-2:], np.uint8) if mask is None else mask
    put(f"{root}/images/{name}.tif", image, **header)
    same = {key: value for key, value in header.items() if key in ("crs", "transform")}
    put(f"{root}/masks/{name}.tif", mask, **{**same, **(mask_header or {})})


def tiles(root: str = "data", **changed: Any) -> GeoTiff:
    words = {"classes": ["other", "road"], "bands": None, "tile": 4, "overlap": 0, "blocks": None,
             "ignore_index": 255, "intensity": FIXED}  # fmt: skip
    return GeoTiff(root, **{**words, **changed})


@pytest.mark.parametrize(("tile", "overlap"), [(4, 0), (4, 1), (5, 3), (10, 0), (3, 0)])
def test_tiles_put_together_are_the_raster(tile: int, overlap: int) -> None:
    image, mask = counting(2, 10, 13), (np.arange(130).reshape(10, 13) % 2).astype(np.uint8)
    scene("a", image, mask)
    data = tiles(tile=tile, overlap=overlap)
    again, labels = np.zeros((2, 10, 13), np.float32), np.full((10, 13), 9, np.uint8)
    for name in data.names:
        row, column = (int(word) for word in name.removeprefix("a/").split("_"))
        window = (..., slice(row, row + tile), slice(column, column + tile))
        again[window], labels[window] = data.raw(name), data.mask(name)
        assert data.raw(name).shape == (2, tile, tile)
    assert (again == image).all() and (labels == mask).all()


def test_the_last_row_and_column_are_moved_inward_and_names_sort_by_place() -> None:
    scene("x/a", counting(1, 10, 13))
    data = tiles()
    positions = [(row, column) for row in (0, 4, 6) for column in (0, 4, 8, 9)]
    assert list(data.names) == [f"x/a/{row:06}_{column:06}" for row, column in positions]
    assert sorted(data.names) == list(data.names)
    assert data.files(data.names[-1]) == (Path("data/images/x/a.tif"), Path("data/masks/x/a.tif"))


def test_a_raster_smaller_than_a_tile_is_filled_up_with_void_and_that_is_said() -> None:
    scene("a", counting(2, 3, 9), np.ones((3, 9), np.uint8))
    data = tiles()
    sample = data.sample("a/000000_000005")
    assert sample.image.shape == (2, 4, 4) and (sample.image[:, 3] == 0).all() and (sample.image[:, :3] > 0).all()
    assert sample.mask.tolist() == [[1] * 4] * 3 + [[VOID] * 4]
    assert "1 scenes smaller than a tile are padded with void: a" in data.notes


def test_masks_of_0_and_255_beside_masks_of_0_and_1_are_refused_unless_void_may_be_nodata() -> None:
    for name, value in (("a", 255), ("b", 1)):
        scene(name, mask=np.full((10, 13), value, np.uint8) * (np.arange(13) > 5))
    data = tiles(masks="auto")
    with pytest.raises(
        DataError, match=r"9 masks hold 0 and 255 \(a/000000_000004\), 9 hold 0 and 1 \(b/000000_000004\)"
    ):
        refuse_mixed_masks(data, data.names)
    refuse_mixed_masks(tiles(masks="index"), data.names)
    scene("a", mask=np.full((10, 13), 255, np.uint8), mask_header={"nodata": 255})
    refuse_mixed_masks(tiles(masks="auto"), data.names)


def test_bands_come_in_the_order_asked_for() -> None:
    image = counting(3, 4, 4)
    scene("a", image)
    assert (tiles(bands=[3, 1]).raw("a/000000_000000") == image[[2, 0]]).all()
    assert (tiles(bands=[3, 1]).channels, tiles().channels) == (2, 3)


def test_values_are_scaled_by_the_intensity_and_measured_on_the_training_tiles() -> None:
    scene("a", np.full((1, 4, 4), 250, np.uint16))
    assert tiles().image("a/000000_000000").unique().tolist() == [0.25]
    scene("b", np.linspace(0, 100, 16, dtype=np.float32).reshape(1, 4, 4), root="floats")
    data = tiles("floats", intensity=IntensitySettings("dataset", 0, 100))
    fitted, settings = data.fit(data.names)
    assert settings == {"intensity": {"scale": "fixed", "low": [0.0], "high": [100.0]}}
    assert isinstance(fitted, GeoTiff) and fitted.intensity.settings == IntensitySettings("fixed", [0.0], [100.0])
    assert data.intensity.settings.scale == "dataset"  # the data set itself did not change


@pytest.mark.parametrize("kind", ["value", "nan", "nan of a band", "alpha", "mask band"])
def test_nodata_is_zero_in_the_image_and_void_in_the_mask(kind: str) -> None:
    """The first pixel is nodata in both bands, the second in the first band alone."""
    image = np.full((2, 4, 4), 500, np.float32 if "nan" in kind else np.uint16)
    nothing = np.nan if "nan" in kind else 7
    image[:, 0, 0] = image[0, 0, 1] = nothing
    header = {"value": {"nodata": 7}, "nan": {"nodata": np.nan}}.get(kind, {})
    scene("a", image, np.ones((4, 4), np.uint8), **header)
    half = "alpha" not in kind and "mask" not in kind
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        if kind == "alpha":
            opaque = np.where(np.arange(16).reshape(1, 4, 4) == 0, 0, 65535).astype(np.uint16)
            path = put("data/images/a.tif", np.concatenate((image, opaque)), alpha="yes")
            with rasterio.open(path, "r+") as file:
                file.colorinterp = [ColorInterp.gray, ColorInterp.undefined, ColorInterp.alpha]
        if kind == "mask band":
            with rasterio.open("data/images/a.tif", "r+") as file:
                file.write_mask(np.arange(16).reshape(4, 4) > 0)
    data = tiles()
    sample = data.sample("a/000000_000000")
    assert data.channels == 2
    assert sample.image[:, 0, 0].tolist() == [0, 0]
    assert sample.image[:, 0, 1].tolist() == ([0, 0.5] if half else pytest.approx([0.007, 0.5]))
    assert sample.mask[0].tolist() == [VOID, 1, 1, 1] and (sample.mask[1:] == 1).all()
    assert torch.equal(data.mask("a/000000_000000"), sample.mask)
    assert torch.equal(data.image("a/000000_000000"), sample.image)


@pytest.mark.parametrize("crs", [UTM, "EPSG:4326", None])
def test_a_picture_made_of_a_raster_lies_where_the_raster_does(crs: str | None) -> None:
    source = put("a.tif", counting(1, 5, 7), crs=crs)
    Image.fromarray(np.zeros((5, 7), np.uint8)).save("a.png")
    assert rasterio.open("a.png").transform.is_identity
    for ending, text in GeoTiff.sidecars(source).items():
        Path(f"a.png{ending}").write_text(text, encoding="utf-8")
    with rasterio.open(source) as raster, rasterio.open("a.png") as picture:
        assert (picture.transform, picture.crs) == (raster.transform, raster.crs)


def points() -> list[Any]:
    """Four control points of a raster of 5×7 that is no parallelogram on the map."""
    corners = ((0, 0, 10.5, 50.25), (0, 7, 11, 50), (5, 0, 10, 49), (5, 7, 11.125, 49.5))
    return [GroundControlPoint(*corner, 0) for corner in corners]


def with_points(path: str) -> Path:
    put(path, counting(1, 5, 7), crs=None, transform=None)
    with rasterio.open(path, "r+") as file:
        file.gcps = points(), rasterio.crs.CRS.from_epsg(4326)
    return Path(path)


def copied_place(source: Path) -> Any:
    """A picture of 5×7 beside which what `source` says of its place is written."""
    Image.fromarray(np.zeros((5, 7), np.uint8)).save("a.png")
    for ending, text in GeoTiff.sidecars(source).items():
        Path(f"a.png{ending}").write_text(text, encoding="utf-8")
    return rasterio.open("a.png")


def test_control_points_are_kept_in_what_predict_writes() -> None:
    with copied_place(with_points("a.tif")) as picture:
        written, system = picture.gcps
    assert [(p.row, p.col, p.x, p.y, p.z) for p in written] == [(p.row, p.col, p.x, p.y, p.z) for p in points()]
    assert system == rasterio.crs.CRS.from_epsg(4326)


def test_a_camera_model_is_kept_in_what_predict_writes() -> None:
    numbers = [float(n) / 8 for n in range(20)]
    model = RPC(
        height_off=1, height_scale=2, lat_off=3, lat_scale=4, line_den_coeff=[1.0] + [0.0] * 19, line_num_coeff=numbers,
        line_off=7, line_scale=8, long_off=9, long_scale=10, samp_den_coeff=[1.0] + [0.0] * 19,
        samp_num_coeff=numbers[::-1], samp_off=11, samp_scale=12, err_bias=0.5, err_rand=0.25,
    )  # fmt: skip
    with copied_place(put("a.tif", counting(1, 5, 7), crs=None, transform=None, rpcs=model)) as picture:
        assert picture.rpcs == model and picture.transform.is_identity


def test_pairs_placed_by_control_points_are_counted() -> None:
    with_points("data/images/a.tif")
    put("data/masks/a.tif", np.zeros((5, 7), np.uint8), crs=None, transform=None)
    with_points("data/images/b.tif")
    with_points("data/masks/b.tif")
    with rasterio.open("data/masks/b.tif", "r+") as file:
        file.write(np.zeros((1, 5, 7), np.uint16))
    assert tiles().notes == [
        "1 pairs lack a georeference: only the sizes of image and mask were compared",
        "1 pairs are placed by GCPs or RPCs: only the sizes of image and mask were compared",
    ]


VRT = """<VRTDataset rasterXSize="13" rasterYSize="10"><Metadata><MDI key="INTERNAL_MASK_FLAGS_1">2</MDI></Metadata>
<VRTRasterBand dataType="Byte" band="1"><SimpleSource><SourceFilename relativeToVRT="0">{}</SourceFilename>
<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"""
TMS = """<GDAL_WMS><Service name="TMS"><ServerUrl>{}</ServerUrl></Service><DataWindow><UpperLeftX>0</UpperLeftX>
<UpperLeftY>10</UpperLeftY><LowerRightX>13</LowerRightX><LowerRightY>0</LowerRightY><SizeX>13</SizeX><SizeY>10</SizeY>
</DataWindow><BandsCount>1</BandsCount></GDAL_WMS>"""


@pytest.fixture
def server() -> Iterator[tuple[str, Callable[[], str]]]:
    """The URL of a local HTTP server in another process, and a function that stops it and gives what it saw."""
    program = "import http.server as h; s = h.HTTPServer(('127.0.0.1', 0), h.SimpleHTTPRequestHandler);"
    program += "print(s.server_port, flush=True); s.serve_forever()"
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    url = f"http://127.0.0.1:{int(process.stdout.readline())}"

    def seen() -> str:
        process.kill()
        return process.communicate()[1]

    yield url, seen
    process.kill()
    process.wait()


@pytest.mark.parametrize(
    ("name", "text"),
    [("images/b.tif", VRT), ("images/b.tif", TMS), ("masks/b.tif", VRT), ("images/b.tif.msk", VRT)],
    ids=["vrt", "tms", "mask", "sidecar"],
)
def test_no_url_that_a_file_names_is_opened(name: str, text: str, server: tuple[str, Callable[[], str]]) -> None:
    url, seen = server
    sources = {"control": f"/vsicurl/{url}/control.tif", "curl": f"/vsicurl/{url}/curl.tif", "http": f"{url}/http.tif"}
    for root, source in sources.items():
        scene("a", root=root)
        scene("b", root=root)
        Path(root, name).write_text(text.format(source if text == VRT else f"{url}/{root}/"))
    with contextlib.suppress(rasterio.errors.RasterioError), rasterio.open(f"control/{name[:12]}") as raster:
        raster.read_masks()
        raster.read()  # GDAL alone asks the server
    for root in ("curl", "http"):
        data = tiles(root)
        assert {name[:2] for name in data.names} == {"a/"} and len(data.problems) == 1
        reason = "is not a TIFF, and belongs to b.tif" if name.endswith("msk") else "cannot be read as a raster"
        assert data.problems[0].startswith(f"{root}/{name}: {reason}")
        if name.startswith("images"):
            for read in (GeoTiff.raw_reader({"bands": None}, 2), GeoTiff.sidecars):  # as predict does
                with pytest.raises(DataError, match=rf"{root}/{re.escape(name)}: {reason}"):
                    read(Path(root, "images/b.tif"))
    requests = seen()
    assert "/control" in requests and "/curl" not in requests and "/http" not in requests


@pytest.mark.parametrize("name", ["a.vrt", "a.xml", "/vsicurl/http://127.0.0.1/a.tif", "a"])
def test_other_formats_and_gdals_own_paths_are_refused(name: str) -> None:
    with pytest.raises(DataError, match=r"rasters are read from \.tif, \.tiff, \.png"):
        GeoTiff.sidecars(Path(name))


def test_one_damaged_raster_is_named_and_the_others_are_used() -> None:
    for name in "abc":
        scene(name)
    whole = Path("data/images/b.tif").read_bytes()
    Path("data/images/b.tif").write_bytes(whole[: len(whole) // 2])
    Path("data/masks/c.tif").write_bytes(whole[:7])
    data = tiles()
    records = scan_all(data, data.names).records
    assert {name[0] for name, record in zip(data.names, records, strict=True) if not record.problem} == {"a"}
    texts = [*data.problems, *(record.problem for record in records if record.problem)]
    assert {text.partition(":")[0] for text in texts} == {"data/images/b.tif", "data/masks/c.tif"}


def test_what_lies_nowhere_has_nothing_beside_it() -> None:
    assert GeoTiff.sidecars(put("a.tif", counting(1, 5, 7), crs=None, transform=None)) == {}


def test_the_masks_nodata_and_its_ignore_index_are_void() -> None:
    scene("a", mask=np.full((10, 13), 200, np.uint8), mask_header={"nodata": 200})
    assert tiles().mask("a/000000_000000").unique().tolist() == [VOID]
    scene("a", mask=np.full((10, 13), 99, np.uint8), root="other")
    assert tiles("other", ignore_index=99).mask("a/000000_000000").unique().tolist() == [VOID]
    with pytest.raises(DataError, match=r"masks/a\.tif: values outside the 2 classes: 99 \(16 pixels\)"):
        tiles("other").mask("a/000000_000000")


def problem(**words: Any) -> str:
    """What is wrong with the second of two scenes."""
    scene("a")
    scene("b", **words)
    data = tiles()
    with pytest.raises(DataError) as caught:
        data.check()
    assert all(name.startswith("a/") for name in data.names) and len(data.problems) == 1
    return str(caught.value)


def test_a_mask_on_another_grid_is_refused() -> None:
    moved = {"transform": from_origin(500_005, 5_000_000, 10, 10)}
    assert "images/b.tif and data/masks/b.tif: lie up to 0.5 pixels apart" in problem(mask_header=moved)


def test_a_mask_in_another_reference_system_is_refused() -> None:
    assert "differ in their reference system, EPSG:32633 and EPSG:32634" in problem(mask_header={"crs": "EPSG:32634"})


def test_a_mask_of_another_size_is_refused() -> None:
    message = problem(mask=np.zeros((10, 12), np.uint8))
    assert "images/b.tif and data/masks/b.tif: differ in size, 13×10 and 12×10 pixels" in message


def test_a_mask_of_complex_numbers_or_of_several_bands_is_refused() -> None:
    assert "masks/b.tif: has 1 bands of complex64" in problem(mask=np.zeros((10, 13), np.complex64))


def test_a_nodata_value_that_is_a_class_is_refused_with_the_cure() -> None:
    message = problem(mask_header={"nodata": 0})
    assert "nodata value 0 is also that of the class 'other'" in message and "rio edit-info --unset-nodata" in message


def test_other_bands_than_the_first_files_are_refused() -> None:
    assert "images/b.tif: has 3 bands, those of 1, 2 are needed" in problem(image=counting(3, 10, 13))


def test_a_file_that_is_no_raster_is_told_and_none_at_all_is_refused() -> None:
    scene("a")
    scene("b")
    Path("data/images/b.tif").write_text("hello")
    assert ["images/b.tif: cannot be read as a raster" in message for message in tiles().problems] == [True]
    Path("data/images/a.tif").unlink()
    with pytest.raises(DataError, match=r"no pair of image and mask"):
        tiles()


def test_rounding_in_a_header_does_no_harm_and_rasters_without_place_are_counted() -> None:
    scene("a", mask_header={"transform": from_origin(500_000.001, 5_000_000, 10, 10)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not tiles().problems and not tiles().notes
    with warnings.catch_warnings(record=True) as shown:
        scene("b", crs=None, transform=None)
        data = tiles()
        data.sample(data.names[-1])
    assert not data.problems and not shown
    assert data.notes == ["1 pairs lack a georeference: only the sizes of image and mask were compared"]


def test_a_scenes_tiles_belong_together_or_those_of_a_block() -> None:
    scene("x/a", counting(1, 18, 8))
    assert {tiles().group(name) for name in tiles().names} == {"x/a"}
    data = tiles(blocks=2)
    rows: dict[str, list[int]] = {}
    for name in data.names:
        rows.setdefault(data.group(name), []).append(int(name[4:10]))
    assert rows == {"x/a/block_0_0": [0, 0, 4, 4], "x/a/block_1_0": [8, 8, 12, 12, 14, 14]}  # 14 shares pixels with 12


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"overlap": 4}, r"dataset\.tile=4 dataset\.overlap=4: the overlap must be below the tile"),
        ({"blocks": 2, "overlap": 1}, r"dataset\.blocks=2 dataset\.overlap=1"),
        ({"ignore_index": 1}, r"dataset\.ignore_index=1: is the value of the class 'road'"),
    ],
)
def test_what_contradicts_itself_is_refused(changed: dict[str, Any], message: str) -> None:
    scene("a")
    with pytest.raises(RequestError, match=message):
        tiles(**changed)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("blocks=0", r"dataset\.blocks=0: must be a whole number of at least 1, or null"),
        ("bands=[0,1]", r"dataset\.bands=\[0,1\]: must be a list, each entry a whole number of at least 1"),
        ("bands=[]", r"dataset\.bands=\[\]: must be a list"),
        ("tile=0", r"dataset\.tile=0: must be a whole number of at least 1"),
        ("overlap=-1", r"dataset\.overlap=-1: must be a whole number of at least 0"),
        (
            "intensity={scale:fixed,low:2,high:1}",
            r"intensity\.low=2.* dataset\.intensity\.high=1.*: low must be below high",
        ),
    ],
)
def test_numbers_outside_their_range_are_refused(word: str, message: str) -> None:
    scene("a")
    with pytest.raises(RequestError, match=message):
        from_config("dataset=geotiff", "dataset.root=data", "dataset.classes=[other,road]", f"dataset.{word}")


def test_the_publishers_split_is_taken_from_folders() -> None:
    for split in ("train", "test"):
        scene("a", counting(1, 4, 4), root=f"data/{split}")
    assert tiles().splits == {"train": ("train/a/000000_000000",), "test": ("test/a/000000_000000",)}


def test_worker_processes_read_the_same_tiles() -> None:
    scene("a")
    data = tiles()
    loader: DataLoader[Any] = DataLoader(Images(data), batch_size=None, num_workers=2)
    again = pickle.loads(pickle.dumps(data))
    assert all(torch.equal(image, again.image(name)) for image, name in zip(loader, data.names, strict=True))


class Images(torch.utils.data.Dataset[Any]):
    def __init__(self, data: GeoTiff) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data.names)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.data.image(self.data.names[index])


def test_without_rasterio_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    scene("a")
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(RequestError, match=r"rasterio is not installed: pip install 'segrun\[geo\]'"):
        tiles()
