"""Seeded data sets of every format that names or draws its masks, with one damaged or unusual file."""

from __future__ import annotations

import copy
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.fuzz.images import flipped, header_flipped, noise, repeated, truncated, zeroed

SIZE = (16, 20)
NAMES = ("a", "b", "c", "d")
BINARY = (truncated, flipped, header_flipped, zeroed, repeated, noise)
POLYGON = [2, 1, 12, 1, 12, 9, 2, 9]


@dataclass(frozen=True)
class DamagedSet:
    """A data set on disk.

    Attributes:
        words: Of the command that reads it.
        file: What was damaged.
        change: How.
    """

    words: list[str]
    file: Path
    change: str


def write_set(root: Path, seed: int) -> DamagedSet:
    """Write a small valid data set of the seed's format, and damage one of its files that are no plain images."""
    rng = np.random.default_rng(seed)
    kind = list(FORMATS)[seed % len(FORMATS)]
    files, words = FORMATS[kind](root)
    file = files[int(rng.integers(len(files)))]
    return DamagedSet([f"dataset={kind}", f"dataset.root={root}", *words], file, _damage(file, rng))


def _damage(file: Path, rng: np.random.Generator) -> str:
    """Damage a file. Returns how."""
    if rng.random() < 0.05:
        file.unlink()
        return "removed"
    content = file.read_bytes()
    if file.suffix == ".json" and rng.random() < 0.7:
        tree, change = _changed_json(json.loads(content), rng)
        file.write_text(json.dumps(tree))
        return change
    if file.suffix in (".json", ".yaml", ".txt"):
        change, text = _changed_text(content, rng)
        file.write_bytes(text)
        return change
    damage = BINARY[int(rng.integers(len(BINARY)))]
    file.write_bytes(damage(rng, content))
    return damage.__name__


def _odd_values(rng: np.random.Generator) -> list[Any]:
    nested: Any = []
    for _ in range(int(rng.integers(2, 900))):
        nested = [nested]
    return [
        None, True, False, 0, -1, 1.5, 10**9, 10**400, -(2**63), float("nan"), float("inf"), 1e308, "", " ", "x" * 5000,
        "nul\0", "half\ud800", "new\nline", "\x1b[2J", "../../etc/passwd", "/etc/passwd", "\\\\host\\share", "null",
        "https://127.0.0.1/x.png", nested, [], {}, [[]], [None], {"size": [2, 2], "counts": "PPP"}, {"counts": [5, -5]},
        {"size": list(SIZE), "counts": [10**6]}, {"size": list(SIZE), "counts": "0" * 50}, [1, 2, 3], [[1, 2], [3]],
        [1e400] * 6, ["1"] * 6, [[10**7, 1, 2, 3, 4, 5]],
    ]  # fmt: skip


def _changed_json(tree: Any, rng: np.random.Generator) -> tuple[Any, str]:
    """The same tree with one value that is odd, missing, twice there, or that of another key."""
    tree = copy.deepcopy(tree)
    places = list(_places(tree))
    parent, key = places[int(rng.integers(len(places)))]
    action = int(rng.integers(8))
    if action == 0:
        del parent[key]
        return tree, f"without {key}"
    if action == 1 and isinstance(parent, list):
        parent.append(copy.deepcopy(parent[key]))
        return tree, f"entry {key} twice"
    if action == 2:
        other, name = places[int(rng.integers(len(places)))]
        value = copy.deepcopy(other[name])
    else:
        odd = _odd_values(rng)
        value = odd[int(rng.integers(len(odd)))]
    parent[key] = value
    return tree, f"{key}={value!r:.60}"


def _places(tree: Any) -> Any:
    """Each container of a tree with each of its keys."""
    items = list(tree.items()) if isinstance(tree, dict) else list(enumerate(tree)) if isinstance(tree, list) else []
    for key, value in items:
        yield tree, key
        yield from _places(value)


def _changed_text(content: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """A text that is cut, of another encoding, nested too deeply, or has an odd word."""
    odd = [str(value).encode("utf-8", "surrogatepass") for value in _odd_values(rng)]
    odd += [b"!!python/object:os.system x", b"!!int x", b"*x", b"&x [*x]", b"<<: 5", b"? [", b"\t- :", b"99", b"-0.5"]
    word = odd[int(rng.integers(len(odd)))]
    words = content.split(b" ")
    position = int(rng.integers(len(words)))
    kind = str(rng.choice(["odd word", "odd line", "cut", "flipped", "UTF-16", "Latin-1", "nested", "empty", "noise"]))
    changed = {
        "odd word": lambda: b" ".join([*words[:position], word, *words[position + 1 :]]),
        "odd line": lambda: content + b"\n" + word + b"\n",
        "cut": lambda: truncated(rng, content),
        "flipped": lambda: flipped(rng, content),
        "UTF-16": lambda: content.decode().encode("utf-16"),
        "Latin-1": lambda: content + b"\n\xe9\xff",
        "nested": lambda: (b"[", b'{"a":', b"- ")[int(rng.integers(3))] * 50_000,
        "empty": lambda: b"",
        "noise": lambda: noise(rng, content),
    }
    return kind, changed[kind]()


def _picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(zlib.crc32(str(path).encode())).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def _text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def _labels() -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    mask[3:11, 4:14] = 1
    return mask


Written = tuple[list[Path], list[str]]


def _coco(root: Path) -> Written:
    images = [
        {"id": n, "file_name": f"{name}.png", "width": SIZE[1], "height": SIZE[0]} for n, name in enumerate(NAMES)
    ]
    segmentations = ([POLYGON], {"size": list(SIZE), "counts": [20, 100, 200]}, POLYGON, [POLYGON, POLYGON])
    annotations = [
        {"id": n, "image_id": n, "category_id": 1 + n % 2, "segmentation": segmentation, "iscrowd": 0, "area": 5}
        for n, segmentation in enumerate(segmentations)
    ]
    categories = [{"id": 1, "name": "cat", "supercategory": "animal"}, {"id": 2, "name": "dog"}]
    for name in NAMES:
        _picture(root / f"{name}.png")
    content = {"images": images, "annotations": annotations, "categories": categories}
    return [_text(root / "labels.json", json.dumps(content))], []


def _panoptic(root: Path) -> Written:
    segments = [{"id": 1, "category_id": 3}, {"id": 2, "category_id": 9}]
    entries = [{"image_id": n, "file_name": f"{name}.png", "segments_info": segments} for n, name in enumerate(NAMES)]
    categories = [{"id": 3, "name": "cat", "isthing": 1}, {"id": 9, "name": "sky", "isthing": 0}]
    files = []
    for split in ("train", "val"):
        for name in NAMES:
            _picture(root / f"{split}2017/{name}.jpg")
            png = _picture(root / f"annotations/panoptic_{split}2017/{name}.png")
            Image.fromarray(np.stack([_labels() + 1, 0 * _labels(), 0 * _labels()], axis=-1)).save(png)
        content = {"images": [], "annotations": entries, "categories": categories}
        files.append(_text(root / f"annotations/panoptic_{split}2017.json", json.dumps(content)))
    return files, []


def _labelme(root: Path) -> Written:
    points = [POLYGON[index : index + 2] for index in range(0, 8, 2)]
    shapes = [
        {"label": "cat", "points": points, "shape_type": "polygon"},
        {"label": "dog", "points": points, "shape_type": "rectangle"},
        {"label": "dog", "points": points[::2], "shape_type": "circle"},
        {"label": "cat", "points": [[1, 1], [3, 2]], "shape_type": "mask", "mask": MASK_PNG},
    ]
    files = []
    for name in NAMES:
        _picture(root / f"{name}.png")
        content = {"imagePath": f"{name}.png", "imageHeight": SIZE[0], "imageWidth": SIZE[1], "shapes": shapes}
        files.append(_text(root / f"{name}.json", json.dumps(content)))
    return files, []


# 3×2 pixels of 0 and 1
MASK_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAMAAAACCAAAAAC4HznGAAAAEElEQVR4nGNgZGBkYGBkAAAAFgAEWCCH/wAAAABJRU5ErkJggg=="


def _yolo(root: Path) -> Written:
    files = [
        _text(root / "data.yaml", "path: .\ntrain: images/train\nval: lists/val.txt\nnc: 2\nnames: [ cat, dog ]\n")
    ]
    files.append(_text(root / "lists/val.txt", "../images/val/a.png\n../images/val/b.png\n"))
    for split in ("train", "val"):
        for name in NAMES:
            _picture(root / f"images/{split}/{name}.png")
            files.append(
                _text(root / f"labels/{split}/{name}.txt", "1 0.1 0.1 0.9 0.1 0.9 0.9\n0 0.2 0.2 0.4 0.2 0.4 0.4\n")
            )
    return files, []


def _cvat(root: Path) -> Written:
    files = [_text(root / "labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncar:245,147,49::\n")]
    for split, names in (("train", NAMES[:3]), ("val", NAMES[3:])):
        files.append(_text(root / f"ImageSets/Segmentation/{split}.txt", "".join(f"{name}\n" for name in names)))
    for name in NAMES:
        _picture(root / f"JPEGImages/{name}.jpg")
        mask = _picture(root / f"SegmentationClass/{name}.png")
        Image.fromarray(np.array([[0, 0, 0], [245, 147, 49]], np.uint8)[_labels()]).save(mask)
    return files, []


def _nifti(root: Path) -> Written:
    import nibabel

    files = [_text(root / "dataset.json", json.dumps({"labels": {"0": "ground", "1": "organ"}, "numTraining": 4}))]
    for name, suffix in zip(NAMES, (".nii", ".nii.gz") * 2, strict=True):
        for folder, values in (("imagesTr", 9 * _labels().astype(np.int16)), ("labelsTr", _labels())):
            path = root / folder / f"{name}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            nibabel.Nifti1Image(np.stack([values] * 3, axis=-1), np.eye(4)).to_filename(path)
            files.append(path)
    return files, []


def _dicom(root: Path) -> Written:
    from pydicom import dataset, uid

    files = [_text(root / "classes.yaml", "- ground\n- organ\n")]
    for name in NAMES:
        for index in range(2):
            head = dataset.Dataset()
            head.file_meta = dataset.FileMetaDataset()
            head.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
            head.file_meta.MediaStorageSOPClassUID = head.SOPClassUID = uid.CTImageStorage
            head.file_meta.MediaStorageSOPInstanceUID = head.SOPInstanceUID = f"1.2.3.{index}"
            head.Rows, head.Columns = SIZE
            head.SamplesPerPixel, head.PhotometricInterpretation = 1, "MONOCHROME2"
            head.BitsAllocated, head.BitsStored, head.HighBit, head.PixelRepresentation = 16, 16, 15, 0
            head.ImagePositionPatient, head.ImageOrientationPatient = [0, 0, 2.5 * index], [1, 0, 0, 0, 1, 0]
            head.PixelSpacing, head.PixelPaddingValue = [1, 1], 0
            head.PixelData = (_labels().astype(np.uint16) * 900 + index).tobytes()
            path = root / f"images/{name}/{index}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            head.save_as(path, enforce_file_format=True)
            mask = _picture(root / f"masks/{name}/{index}.png")
            Image.fromarray(_labels()).save(mask)
            files.append(path)
    return files, []


def _geotiff(root: Path) -> Written:
    import rasterio

    files = [_text(root / "classes.yaml", "ground: [0, 0, 0]\nroad: [9, 8, 7]\n")]
    for name in NAMES:
        for folder, values in (("images", _labels() * 90), ("masks", _labels())):
            path = root / folder / f"{name}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            place = {"crs": "EPSG:32633", "transform": rasterio.transform.from_origin(5e5, 5e6, 10, 10)}
            header = {"driver": "GTiff", "count": 1, "height": SIZE[0], "width": SIZE[1], "dtype": "uint8", **place}
            with rasterio.open(path, "w", **header) as raster:
                raster.write(values[None])
            files.append(path)
    return files, ["dataset.tile=16"]


FORMATS: Mapping[str, Callable[[Path], Written]] = {
    "coco": _coco,
    "labelme": _labelme,
    "yolo": _yolo,
    "coco_panoptic": _panoptic,
    "cvat": _cvat,
    "nifti": _nifti,
    "dicom": _dicom,
    "geotiff": _geotiff,
}
