import pickle
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from segrun.data.read.intensity import IntensitySettings
from segrun.data.scan.scan import scan_all
from segrun.data.sets.dicom import Dicom
from segrun.data.sets.dicom_files import read_slice
from segrun.errors import DataError, MissingExtraError, RequestError
from tests.data.sets.config import from_config

nibabel = pytest.importorskip("nibabel")
pydicom = pytest.importorskip("pydicom")
SLICES = np.arange(3 * 5 * 4, dtype=np.uint16).reshape(3, 5, 4) * 30  # three of 5×4, from the feet up
AXIAL = (1, 0, 0, 0, 1, 0)


def saved(path: str, values: NDArray[Any], height: float | None = 0.0, **tags: Any) -> Path:
    """An axial slice at this height in mm."""
    uid = pydicom.uid
    head = pydicom.Dataset()
    head.file_meta = pydicom.dataset.FileMetaDataset()
    head.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    head.file_meta.MediaStorageSOPClassUID = head.SOPClassUID = uid.CTImageStorage
    head.file_meta.MediaStorageSOPInstanceUID = head.SOPInstanceUID = uid.generate_uid()
    head.Rows, head.Columns = values.shape
    head.SamplesPerPixel, head.PhotometricInterpretation = 1, "MONOCHROME2"
    head.BitsAllocated, head.BitsStored, head.HighBit = 16, 12, 11
    head.PixelRepresentation = int(values.dtype.kind == "i")
    head.PixelData = values.tobytes()
    if height is not None:
        head.ImagePositionPatient, head.ImageOrientationPatient = [-50, -60, height], list(AXIAL)
    for name, value in tags.items():
        setattr(head, name, value)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    head.save_as(path, enforce_file_format=True)
    return Path(path)


def series(folder: str, values: NDArray[Any] = SLICES, names: str = "zax", **tags: Any) -> None:
    """A slice a file, whose names' order is not that of the slices."""
    for index, name in enumerate(names):
        saved(f"study/images/{folder}/{name}.dcm", values[index], height=2.5 * index - 100, **tags)


def masks(case: str, names: Sequence[str] = "zax") -> None:
    for index, name in enumerate(names):
        Path(f"study/masks/{case}").mkdir(parents=True, exist_ok=True)
        Image.fromarray((SLICES[index] % 7 == index).astype(np.uint8)).save(f"study/masks/{case}/{name}.png")


def dicom(**changed: Any) -> Dicom:
    options: dict[str, Any] = {"root": "study", "classes": ["ground", "organ"], "series": None, "empty": "keep"}
    scaling = IntensitySettings("fixed", 0, 1000)
    return Dicom(**{**options, "ignore_index": 255, "intensity": scaling, **changed})


def test_slices_lie_in_the_order_of_their_positions_each_with_its_mask() -> None:
    series("p1")
    masks("p1")
    data = dicom()
    assert data.names == ("p1/000", "p1/001", "p1/002")
    assert data.files("p1/001") == (Path("study/images/p1/a.dcm"), Path("study/masks/p1/a.png"))
    assert data.group("p1/002") == "p1"
    for index, name in enumerate(data.names):
        assert np.array_equal(data.raw(name)[0], SLICES[index])
        assert np.array_equal(data.mask(name), SLICES[index] % 7 == index)
    np.testing.assert_allclose(data.image("p1/002")[0], np.clip(SLICES[2] / 1000, 0, 1), rtol=1e-6)
    assert np.array_equal(pickle.loads(pickle.dumps(data)).raw("p1/001"), data.raw("p1/001"))


def test_without_positions_the_instance_numbers_give_the_order() -> None:
    for index, name in enumerate("zax"):
        saved(f"study/images/p1/{name}.dcm", SLICES[index], height=None, InstanceNumber=index + 7)
    masks("p1")
    assert [dicom().files(f"p1/{k:03}")[0].stem for k in range(3)] == ["z", "a", "x"]
    saved("study/images/p1/a.dcm", SLICES[1], height=None)
    masks("p1")
    with pytest.raises(DataError, match=r"the order of the slices is unknown: no InstanceNumber in a\.dcm"):
        dicom().raw("p1/000")


def test_slope_and_intercept_make_hounsfield_units() -> None:
    stored = (SLICES[0].astype(np.int16) - 9).astype(np.int16)
    path = saved("ct.dcm", stored, RescaleSlope=2, RescaleIntercept=-1024)
    assert np.array_equal(read_slice(path), stored * 2.0 - 1024)


def test_low_is_bright_in_monochrome1() -> None:
    path = saved("dx.dcm", SLICES[0], PhotometricInterpretation="MONOCHROME1", RescaleSlope=3, RescaleIntercept=5)
    assert np.array_equal(read_slice(path), (4095 - SLICES[0]) * 3.0 + 5)
    signed = SLICES[0].astype(np.int16) - 100
    path = saved("signed.dcm", signed, PhotometricInterpretation="MONOCHROME1")
    assert np.array_equal(read_slice(path), -1.0 - signed)


def test_padding_is_no_value() -> None:
    stored = SLICES[0].astype(np.int16)
    stored[0] = -2000
    path = saved("ct.dcm", stored, PixelPaddingValue=-2000)
    values = read_slice(path)
    assert np.isnan(values[0]).all()
    assert np.array_equal(values[1:], stored[1:])


@pytest.mark.parametrize(("kind", "declared"), [("SS", "US"), ("US", "SS")])
def test_padding_with_the_wrong_representation_is_no_value(kind: str, declared: str) -> None:
    stored = SLICES[0].astype(np.int16 if kind == "SS" else np.uint16)
    stored[0] = -2000 if kind == "SS" else 63536
    path = saved("ct.dcm", stored)
    header = pydicom.dcmread(path)
    header.add_new("PixelPaddingValue", declared, 63536 if declared == "US" else -2000)
    header.BitsStored, header.HighBit = 16, 15
    header.save_as(path)
    assert pydicom.dcmread(path).PixelPaddingValue == (63536 if declared == "US" else -2000)
    values = read_slice(path)
    assert np.isnan(values[0]).all() and np.array_equal(values[1:], stored[1:])


def test_a_range_of_padding_is_no_value() -> None:
    stored = SLICES[0].astype(np.int16)
    stored[0] = [-2000, -1900, -1800, -1799]
    values = read_slice(saved("ct.dcm", stored, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1800))
    assert np.isnan(values[0]).tolist() == [True, True, True, False] and not np.isnan(values[1:]).any()


@pytest.mark.parametrize("names", [("IM1", "IM2", "IM3"), ("z.IMA", "a.IMA", "x.ima"), ("1.2.5", "1.2.3", "1.2.4")])
def test_files_without_a_suffix_and_ima_are_read(names: Sequence[str]) -> None:
    for index, name in enumerate(names):
        saved(f"study/images/p1/{name}", SLICES[index], height=2.5 * index)
    masks("p1", [name.split(".")[0] if "IMA" in name.upper() else name for name in names])
    Path("study/images/p1/DICOMDIR").write_bytes(bytes(128) + b"DICM")
    Path("study/images/p1/notes.txt").write_text("no DICOM")
    data = dicom()
    assert data.notes == ["left out: 2 files in images/ that are not DICOM"] and not data.problems
    for index, name in enumerate(data.names):
        assert np.array_equal(data.raw(name)[0], SLICES[index])
        assert np.array_equal(data.mask(name), SLICES[index] % 7 == index)


def test_two_files_of_one_name_are_a_problem() -> None:
    series("p1")
    masks("p1")
    saved("study/images/p1/a.IMA", SLICES[1])
    (problem,) = dicom().problems
    assert "a.IMA" in problem and "share a name. Remove or rename one." in problem


@pytest.mark.parametrize(
    ("tag", "value"),
    [("ImagePositionPatient", b"1\\2\\x "), ("ImagePositionPatient", b"1\\2 "), ("ImageOrientationPatient", b"1 "),
     ("Rows", b"123"), ("BitsAllocated", b""), ("PixelPaddingValue", b"")],
)  # fmt: skip
def test_a_damaged_header_is_named_and_the_rest_is_checked(tag: str, value: bytes) -> None:
    for case in ("p1", "p2"):
        series(case)
        masks(case)
    path = Path("study/images/p2/a.dcm")
    header = pydicom.dcmread(path)
    kind = pydicom.datadict.dictionary_VR(tag).split(" ")[0]
    number = pydicom.tag.Tag(tag)
    header[number] = pydicom.dataelem.RawDataElement(number, kind, len(value), value, 0, False, True)
    header.save_as(path)
    data = dicom()
    records = dict(zip(data.names, scan_all(data, data.names).records, strict=True))
    damaged = {name: record.problem for name, record in records.items() if record.problem}
    assert all(not records[name].problem for name in data.names if name.startswith("p1"))
    if tag == "PixelPaddingValue":  # empty: nothing is padded
        assert not damaged and np.array_equal(data.raw("p2/001")[0], SLICES[1])
    else:
        assert damaged and all(f"{path}: " in text and "\n" not in text for text in damaged.values())


@pytest.mark.parametrize("empty", ["keep", "drop"])
def test_a_file_that_is_no_dicom_does_not_end_a_check(empty: str) -> None:
    for case in ("p1", "p2"):
        series(case)
        masks(case)
    Path("study/images/p2/a.dcm").write_bytes(b"hello")
    data = dicom(empty=empty)
    records = dict(zip(data.names, scan_all(data, data.names).records, strict=True))
    assert {name for name, record in records.items() if record.problem} == {"p2/000", "p2/001", "p2/002"}
    assert records["p2/001"].problem.startswith("study/images/p2/a.dcm: cannot be read as DICOM")
    assert records["p1/001"].class_counts.sum() > 0


def placed(affine: NDArray[Any]) -> None:
    """A series with a pixel spacing, and a NIfTI mask of it with an affine."""
    series("p1", PixelSpacing=[0.5, 0.75])
    Path("study/masks").mkdir()
    labels = (SLICES % 7 == 0).astype(np.uint8).transpose(2, 1, 0)
    nibabel.save(nibabel.Nifti1Image(labels, affine), "study/masks/p1.nii")


def test_a_nifti_mask_lies_where_the_series_does() -> None:
    affine = np.diag([-0.75, -0.5, 2.5, 1])
    affine[:3, 3] = 50, 60, -100
    placed(affine)
    for index, name in enumerate(dicom().names):
        assert np.array_equal(dicom().mask(name), SLICES[index] % 7 == 0)


def test_a_spacing_of_0_says_nothing_about_the_place_of_a_mask() -> None:
    placed(np.diag([-0.75, -0.5, 2.5, 1]))
    series("p1", PixelSpacing=[0, 0])
    assert np.array_equal(dicom().mask("p1/001"), SLICES[1] % 7 == 0)


def test_a_nifti_mask_elsewhere_in_space_is_refused_with_the_tolerance() -> None:
    placed(np.diag([-0.75, -0.5, 2.5, 1]))
    with pytest.raises(DataError, match=r"p1\.nii: lies up to 120 voxels elsewhere in space \(0\.1 are allowed\)"):
        dicom().mask("p1/000")


def test_a_dicom_slice_is_the_nifti_slice_and_a_nifti_mask_is_turned_to_it() -> None:
    from segrun.data.sets.nifti import Nifti

    voxels = SLICES.transpose(2, 1, 0)  # to the left, to the back, up
    affine = np.diag([-1.0, -1, 2.5, 1])
    Path("study/masks").mkdir(parents=True)
    Path("nifti/images").mkdir(parents=True)
    Path("nifti/masks").mkdir()
    for path, values in (("study/masks/p1", voxels % 7 == 0), ("nifti/images/p1", voxels), ("nifti/masks/p1", voxels)):
        image = nibabel.Nifti1Image(values.astype(np.int16), affine)
        nibabel.save(nibabel.as_closest_canonical(image), f"{path}.nii.gz")
    series("p1")
    data = dicom()
    options: dict[str, Any] = {"axis": 2, "empty": "keep", "ignore_index": 255, "allow_unpaired": False, "channels": 1}
    other = Nifti("nifti", ["a", "b"], intensity=IntensitySettings("image", 0, 100), **options)
    for index, name in enumerate(data.names):
        assert np.array_equal(data.mask(name), SLICES[index] % 7 == 0)
        assert np.array_equal(other.raw(name), data.raw(name))


def test_a_sagittal_series_takes_its_mask_along_its_own_slices() -> None:
    voxels = SLICES.transpose(2, 1, 0)  # columns to the back, rows to the feet, slices to the left
    for index in range(3):
        tags = {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1], "ImagePositionPatient": [40 - 3.0 * index, 0, 0]}
        saved(f"study/images/p1/{index}.dcm", SLICES[index], **tags)  # the normal runs to the right
    Path("study/masks").mkdir()
    to_ras = np.array([[0, 0, 3.0, -40], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image((voxels % 7 == 0).astype(np.uint8), to_ras)
    nibabel.save(nibabel.as_closest_canonical(image), "study/masks/p1.nii")
    data = dicom()
    for index, name in enumerate(data.names):
        assert np.array_equal(data.raw(name)[0], SLICES[index])
        assert np.array_equal(data.mask(name), SLICES[index] % 7 == 0)


def test_a_nifti_mask_of_other_slices_is_refused() -> None:
    series("p1")
    Path("study/masks").mkdir()
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 2), np.uint8), np.eye(4)), "study/masks/p1.nii")
    with pytest.raises(DataError, match=r"p1\.nii: has 2 slices, the series p1 has 3"):
        dicom().mask("p1/000")


def test_series_of_a_case_are_its_channels_in_the_order_asked_for() -> None:
    series("p1/T1")
    series("p1/T2", SLICES + 1, names="abc")
    series("p1/scout", SLICES + 2)
    masks("p1")
    data = dicom(series=["T2", "T1"])  # masks are named after the first
    assert "for 2 of 3 slices" in data.problems[0]
    data = dicom(series=["T1", "T2"])
    assert (data.channels, list(data.problems)) == (2, [])
    assert data.notes == ["left out: series other than T1, T2: scout"]
    assert np.array_equal(data.raw("p1/001"), [SLICES[1], SLICES[1] + 1])


def test_series_that_do_not_fit_each_other_are_refused() -> None:
    series("p1/T1")
    series("p1/T2", SLICES[:2], names="ab")
    masks("p1")
    assert dicom(series=["T1", "T2"]).problems == [
        "study/images/p1: its series differ in slices: T1 has 3, T2 has 2. Complete them, or remove the case."
    ]
    saved("study/images/p1/T2/c.dcm", SLICES[2], height=50)
    with pytest.raises(DataError, match="T2: its slices lie elsewhere than those of T1"):
        dicom(series=["T1", "T2"]).raw("p1/000")
    assert dicom(series=["T1", "T3"]).problems == [
        "study/images/p1: its series differ in slices: T1 has 3, T3 has 0. Complete them, or remove the case."
    ]
    with pytest.raises(RequestError, match=r"dataset\.series=\[T1,T1\]: a name occurs twice"):
        dicom(series=["T1", "T1"])
    for wrong in ("T1", "[]"):
        with pytest.raises(RequestError, match=rf"dataset\.series={re.escape(wrong)}: must be a list"):
            from_config("dataset=dicom", "dataset.root=study", f"dataset.series={wrong}")


def test_two_series_in_one_folder_are_refused() -> None:
    series("p1")
    saved("study/images/p1/other.dcm", SLICES[0], height=-100)
    saved("study/images/p2/a.dcm", SLICES[0])
    saved("study/images/p2/b.dcm", SLICES[0], ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    data = dicom()
    with pytest.raises(DataError, match=r"\w+\.dcm and \w+\.dcm have the same position"):
        data.raw("p1/000")
    with pytest.raises(DataError, match="different orientations"):
        data.raw("p2/000")


def test_missing_masks_and_loose_files_are_problems() -> None:
    series("p1")
    masks("p1", names="za")
    saved("study/images/loose.dcm", SLICES[0])
    loose, bare = dicom().problems
    assert (
        loose == "study/images/loose.dcm: lies in images/ itself, where each case must be a folder. Move it into one."
    )
    assert "study/masks/p1.nii(.gz) is missing, and so are study/masks/p1/*.png for 1 of 3 slices." in bare


def test_slices_without_a_label_are_dropped_where_that_is_asked_for() -> None:
    series("p1")
    masks("p1")
    Image.fromarray(np.zeros((5, 4), np.uint8)).save("study/masks/p1/a.png")
    assert dicom(empty="drop").names == ("p1/000", "p1/002")


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "holds PALETTE COLOR. A slice must be one frame"),
        ({"NumberOfFrames": 4}, "holds 4 frames"),
        ({"PixelData": b"12"}, "its pixels cannot be read"),
    ],
)
def test_what_is_no_slice_is_refused(tags: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_slice(saved("one.dcm", SLICES[0], **tags))


def test_a_compression_without_decoder_is_named_with_its_cure() -> None:
    path = saved("one.dcm", SLICES[0], PixelData=pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51"]))
    head = pydicom.dcmread(path)
    head.file_meta.TransferSyntaxUID = pydicom.uid.JPEG2000Lossless
    head["PixelData"].VR = "OB"
    head["PixelData"].is_undefined_length = True
    head.save_as(path)
    with pytest.raises(DataError, match=r"compressed as JPEG 2000 .*pip install 'pylibjpeg\[all\]'"):
        read_slice(path)


def test_a_file_that_is_no_dicom_is_said_by_name() -> None:
    Path("no.dcm").write_bytes(b"hello")
    with pytest.raises(DataError, match=r"no\.dcm: cannot be read as DICOM"):
        read_slice(Path("no.dcm"))


def test_the_shipped_options_make_one() -> None:
    series("p1")
    masks("p1")
    words = ["dataset=dicom", "dataset.root=study", "dataset.classes=[ground,organ]"]
    data = from_config(*words)
    assert data.names == dicom().names
    fitted, settings = data.fit(data.names)
    fixed = settings["intensity"]
    assert (fixed["scale"], len(fixed["low"])) == ("fixed", 1)
    assert 0 < fitted.image("p1/002").mean() < 1


def test_without_the_extra_the_line_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'segrun\[medical\]'"):
        dicom()
