import gzip
import json
import pickle
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from segrun.data.read.intensity import IntensitySettings
from segrun.data.scan.checks import refuse_mixed_masks
from segrun.data.scan.scan import scan_all
from segrun.data.sets.nifti import Nifti
from segrun.data.sets.nifti_files import Volume, open_volumes
from segrun.errors import DataError, MissingExtraError, RequestError
from tests.data.sets.config import from_config

nibabel = pytest.importorskip("nibabel")
# 4 to the right, 5 to the front, 6 up; every voxel is different
VOXELS = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
LABELS = (VOXELS % 7 == 0).astype(np.uint8)
LABELS[:, :, :2] = 0


def as_radiologists_see(values: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """One slice of each axis as a radiologist sees it: the patient's right on the left, front or top first."""
    return values[1, ::-1, ::-1].T, values[::-1, 2, ::-1].T, values[::-1, ::-1, 3].T


SAGITTAL, CORONAL, AXIAL = as_radiologists_see(VOXELS)  # 6×5, 6×4, 5×4


def saved(path: str, values: NDArray[Any], codes: str = "RAS") -> Path:
    """A file whose axes run to `codes`, of values that run to RAS."""
    orientations = nibabel.orientations
    turn = orientations.ornt_transform(orientations.axcodes2ornt("RAS"), orientations.axcodes2ornt(codes))
    turned = orientations.apply_orientation(values, turn)
    image = nibabel.Nifti1Image(turned, orientations.inv_ornt_aff(turn, values.shape[:3]))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    image.to_filename(path)
    return Path(path)


def nifti(**changed: Any) -> Nifti:
    options: dict[str, Any] = {
        "root": "task",
        "classes": ["ground", "organ"],
        "channels": 1,
        "axis": 2,
        "empty": "keep",
    }
    scaling = IntensitySettings("fixed", 0, 200)
    return Nifti(**{**options, "ignore_index": 255, "allow_unpaired": False, "intensity": scaling, **changed})


def cases(*names: str, suffix: str = ".nii", root: str = "task") -> None:
    for name in names:
        saved(f"{root}/imagesTr/{name}{suffix}", VOXELS)
        saved(f"{root}/labelsTr/{name}{suffix}", LABELS)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "PIR", "SRA", "ILP"])
def test_a_slice_is_the_same_however_the_file_lies(codes: str, suffix: str) -> None:
    volume = Volume(saved(f"{codes}{suffix}", VOXELS, codes)).decompress()
    for plane, (ends, number) in zip((AXIAL, CORONAL, SAGITTAL), (("LPS", 3), ("LIA", 2), ("PIR", 1)), strict=True):
        assert np.array_equal(volume.read_slice(ends, number)[0], plane)
    assert [volume.slice_count(ends) for ends in ("PIR", "LIA", "LPS")] == [4, 5, 6]


def test_the_axes_agree_with_nibabels_canonical_image() -> None:
    path = saved("oblique.nii", VOXELS, "SLA")
    canonical = nibabel.as_closest_canonical(nibabel.load(path)).get_fdata()
    assert np.array_equal(Volume(path).read_slice("LPS", 4)[0], canonical[::-1, ::-1, 4].T)


@pytest.mark.parametrize(
    ("axis", "plane", "name"), [(0, SAGITTAL, "a/001"), (1, CORONAL, "a/002"), (2, AXIAL, "a/003")]
)
def test_slices_are_cut_along_the_axis_asked_for(axis: int, plane: NDArray[Any], name: str) -> None:
    cases("a")
    data = nifti(axis=axis)
    assert len(data.names) == VOXELS.shape[axis]
    assert np.array_equal(data.raw(name)[0], plane)
    sample = data.sample(name)
    np.testing.assert_allclose(sample.image[0], plane / 200, rtol=1e-6)
    assert np.array_equal(sample.mask, as_radiologists_see(LABELS)[axis])


def test_masks_lie_where_the_image_does() -> None:
    saved("task/images/a.nii", VOXELS, "PIR")
    saved("task/masks/a.nii.gz", LABELS, "PIR")
    data = nifti(classes=["ground", "organ"])
    assert np.array_equal(data.mask("a/003"), AXIAL % 7 == 0)
    assert 0 < data.mask("a/003").sum() < 20
    assert not data.mask("a/001").any()


def test_slope_and_intercept_are_applied() -> None:
    path = saved("task/images/a.nii", VOXELS)
    saved("task/masks/a.nii", LABELS)
    content = bytearray(path.read_bytes())
    content[112:120] = struct.pack("<ff", 2, -1024)  # scl_slope, scl_inter of the standard's header
    path.write_bytes(content)
    assert np.array_equal(nifti().raw("a/003")[0], AXIAL * 2.0 - 1024)


def test_names_groups_files_and_splits_are_those_of_the_cases() -> None:
    cases("liver_1", "liver_2")
    data = nifti()
    assert data.names[:2] == ("liver_1/000", "liver_1/001")
    assert len(data.names) == 12
    assert data.splits == {}
    assert {data.group(name) for name in data.names} == {"liver_1", "liver_2"}
    assert data.files("liver_2/001") == (Path("task/imagesTr/liver_2.nii"), Path("task/labelsTr/liver_2.nii"))
    assert np.array_equal(pickle.loads(pickle.dumps(data)).raw("liver_2/003"), data.raw("liver_2/003"))
    saved("task/imagesTs/liver_3.nii", VOXELS)
    assert nifti().notes == ["left out: imagesTs/, which has no labelsTs/"]
    saved("task/labelsTs/liver_3.nii", LABELS)
    assert nifti().splits == {"train": data.names, "test": tuple(f"liver_3/{k:03}" for k in range(6))}


def test_channels_are_the_fourth_axis_or_numbered_files() -> None:
    both = np.stack([VOXELS, VOXELS + 1000], axis=3)
    saved("task/imagesTr/a.nii", both, "LPS")
    saved("task/labelsTr/a.nii", LABELS, "LPS")
    for number in range(2):
        saved(f"task/imagesTr/brain_0007_{number:04}.nii.gz", both[..., number])
    saved("task/labelsTr/brain_0007.nii.gz", LABELS)
    data = nifti(channels=2)
    assert list(data.cases) == ["a", "brain_0007"]
    for case in data.cases:
        assert np.array_equal(data.raw(f"{case}/003"), [AXIAL, AXIAL + 1000])
    assert nifti(channels=3).problems == [
        "task/imagesTr/a.nii: has 2 channels, dataset.channels=3. Set it to 2, or remove the case.",
        "task/imagesTr/brain_0007_0000.nii.gz: has 2 channels, dataset.channels=3. Set it to 2, or remove the case.",
    ]
    Path("task/imagesTr/brain_0007_0000.nii.gz").unlink()
    assert "the case has the channels 1. Number them from 0 without gaps" in nifti(channels=2).problems[0]


def test_a_case_whose_name_ends_in_four_digits_is_no_channel() -> None:
    cases("case_0000", "case_0001")
    assert list(nifti().cases) == ["case_0000", "case_0001"]


@pytest.mark.parametrize(
    "labels",
    [{"0": "background", "1": "liver", "2": "tumour"}, {"background": 0, "tumour": 2, "liver": 1, "ignore": 3}],
)
def test_classes_are_those_of_the_publishers_json(labels: dict[str, Any]) -> None:
    cases("a")
    Path("task/dataset.json").write_text(json.dumps({"labels": labels}))
    assert nifti(classes=None).classes.names == ("background", "liver", "tumour")
    assert nifti(classes=["x", "y"]).classes.names == ("x", "y")


def test_a_json_without_whole_labels_is_refused() -> None:
    cases("a")
    Path("task/dataset.json").write_text(json.dumps({"labels": {"background": 0, "whole": [1, 2]}}))
    with pytest.raises(RequestError, match=r"dataset\.json: holds no labels"):
        nifti(classes=None)
    Path("task/dataset.json").write_text(json.dumps({"labels": {"0": "a", "2": "b"}}))
    with pytest.raises(RequestError, match="has the labels 0, 2, which do not count from 0"):
        nifti(classes=None)


def test_empty_slices_are_left_out_and_counted_where_that_is_asked_for() -> None:
    cases("a", "b")
    data = nifti(empty="drop")
    assert data.names == tuple(f"{case}/{k:03}" for case in "ab" for k in range(2, 6))
    assert data.notes == ["left out: 4 of 12 slices without a label (dataset.empty=drop)"]
    with pytest.raises(RequestError, match=r"ignore_index=1: is the value of the class 'organ', too"):
        nifti(ignore_index=1)
    for case in "ab":
        saved(f"task/labelsTr/{case}.nii", 0 * LABELS)
    with pytest.raises(DataError, match="no slice holds a label"):
        nifti(empty="drop")
    with pytest.raises(RequestError, match=r"dataset\.empty=some: must be one of keep, drop"):
        from_config("dataset=nifti", "dataset.root=task", "dataset.empty=some")


def test_labels_of_another_size_are_a_problem_with_both() -> None:
    saved("task/images/a.nii", VOXELS)
    saved("task/masks/a.nii", LABELS[..., :5])
    data = nifti()
    assert data.problems == [
        "task/images/a.nii: is 4×5×6 in RAS orientation, its label a.nii 4×5×5 in RAS orientation. "
        "Save both on the same grid."
    ]
    with pytest.raises(DataError, match=r"a\.nii: is 4×5×6"):
        data.check()


@pytest.mark.parametrize("codes", ["LPS", "PIR", "SRA"])
def test_labels_along_other_axes_are_turned_exactly_and_that_is_noted(codes: str) -> None:
    saved("task/images/a.nii", VOXELS)
    saved("task/masks/a.nii", LABELS, codes)
    for axis, name in ((0, "a/001"), (1, "a/002"), (2, "a/003")):
        data = nifti(axis=axis)
        assert np.array_equal(data.mask(name), as_radiologists_see(LABELS)[axis]) and data.mask(name).any()
    assert not data.problems
    assert data.notes == ["1 cases have labels along other axes than their images: turned, exactly"]


def moved(affine: NDArray[Any], path: str = "task/masks/a.nii") -> None:
    nibabel.Nifti1Image(LABELS, affine).to_filename(path)


@pytest.mark.parametrize(
    ("affine", "distance"),
    [
        (np.diag([1.0, 1, 2, 1]), "5.5"),  # another spacing
        (np.array([[1.0, 0, 0, 0.5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "0.5"),  # another origin
        (np.diag([-1.0, 1, 1, 1]), "3"),  # flipped by the header alone
    ],
)
def test_labels_elsewhere_in_space_are_a_problem_with_the_tolerance(affine: NDArray[Any], distance: str) -> None:
    saved("task/images/a.nii", VOXELS)
    saved("task/masks/a.nii", LABELS)
    moved(affine)
    (problem,) = nifti().problems
    codes = "".join(nibabel.aff2axcodes(affine))
    assert problem == (
        f"task/images/a.nii: is 4×5×6 in RAS orientation, its label a.nii 4×5×6 in {codes} orientation, and lies up to "
        f"{distance} voxels elsewhere in space (0.1 are allowed). Resample it to the image; if only its header is "
        "wrong, give it the image's affine."
    )


def test_an_affine_without_volume_is_refused() -> None:
    saved("task/images/a.nii", VOXELS)
    saved("task/masks/a.nii", LABELS)
    moved(np.array([[1.0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    (problem,) = nifti().problems
    assert problem.startswith("task/masks/a.nii: has the shape (4, 5, 6) of uint8, 4×5×6 in ??? orientation.")


def test_rounding_in_the_header_of_a_label_does_no_harm() -> None:
    saved("task/images/a.nii", VOXELS)
    saved("task/masks/a.nii", LABELS)
    affine = np.eye(4)
    affine[:3, 3] = 0.09
    moved(affine)
    assert not nifti().problems and np.array_equal(nifti().mask("a/003"), as_radiologists_see(LABELS)[2])


def test_channels_elsewhere_in_space_are_a_problem() -> None:
    cases("brain_0000")
    Path("task/labelsTr/brain_0000.nii").rename("task/labelsTr/brain.nii")
    moved(np.diag([1.0, 1, 1.5, 1]), "task/imagesTr/brain_0001.nii")
    assert "brain_0001.nii: is 4×5×6 in RAS orientation, its label brain.nii" in nifti(channels=2).problems[0]


@pytest.mark.parametrize(
    ("position", "value"),
    [(42, b"\xff\x7f\xff\x7f\xff\x7f"), (280, struct.pack("<f", np.nan)), (70, b"\x63"), (344, b"xxxx"), (40, b"\0\0")],
    ids=["more voxels than bytes", "nan", "type", "magic", "axes"],
)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_damaged_header_is_named_and_the_other_cases_are_used(position: int, value: bytes, suffix: str) -> None:
    cases("a", "b", suffix=suffix)
    path = Path(f"task/imagesTr/b{suffix}")
    content = bytearray(nibabel.load(path).to_bytes())
    content[position : position + len(value)] = value
    path.write_bytes(gzip.compress(content) if suffix == ".nii.gz" else content)
    data = nifti()
    assert [problem.partition(": ")[0] for problem in data.problems] == [str(path)] and "\n" not in data.problems[0]
    assert {data.group(name) for name in data.names} == {"a"} and len(data.names) == 6


def test_a_label_cut_off_is_named_and_the_other_cases_are_checked() -> None:
    cases("a", "b", suffix=".nii.gz")
    path = Path("task/labelsTr/b.nii.gz")
    path.write_bytes(path.read_bytes()[:-12])
    data = nifti(empty="drop")
    records = dict(zip(data.names, scan_all(data, data.names).records, strict=True))
    assert {name[0] for name, record in records.items() if not record.problem} == {"a"}
    assert all(str(path) in record.problem for name, record in records.items() if name[0] == "b")


def test_what_has_no_partner_is_a_problem_or_left_out() -> None:
    cases("a")
    saved("task/imagesTr/b.nii", VOXELS)
    saved("task/labelsTr/c.nii", LABELS)
    assert ["images without a mask: b" in nifti().problems[0], "masks without an image: c" in nifti().problems[1]]
    data = nifti(allow_unpaired=True)
    assert (list(data.problems), list(data.cases), len(data.notes)) == ([], ["a"], 2)
    saved("task/imagesTr/a.nii.gz", VOXELS)
    assert nifti(allow_unpaired=True).problems == ["task/imagesTr/a.nii.gz: there is a.nii, too. Remove one."]


def test_files_that_are_no_volumes_are_said_by_name() -> None:
    cases("a", "b", suffix=".nii.gz")
    Path("task/imagesTr/b.nii.gz").write_bytes(b"hello")
    assert "b.nii.gz: cannot be read as NIfTI" in nifti().problems[0]
    saved("task/imagesTr/b.nii.gz", np.random.default_rng(0).integers(0, 99, (4, 5, 6), dtype=np.int16))
    whole = Path("task/imagesTr/b.nii.gz").read_bytes()
    Path("task/imagesTr/b.nii.gz").write_bytes(whole[: len(whole) - 60])
    with pytest.raises(DataError, match=r"b\.nii\.gz: cannot be read as NIfTI"):
        nifti().raw("b/000")
    nibabel.save(nibabel.Nifti1Image(VOXELS[..., 0], np.eye(4)), "task/imagesTr/b.nii.gz")
    assert "b.nii.gz: has the shape (4, 5)" in nifti().problems[0]


def test_labels_of_0_and_255_beside_labels_of_0_and_1_are_refused() -> None:
    cases("a", "b")
    saved("task/labelsTr/a.nii", (LABELS > 0) * np.uint8(255))
    saved("task/labelsTr/b.nii", (LABELS > 0) * np.uint8(1))
    data = nifti(masks="auto")
    with pytest.raises(DataError, match=r"masks hold 0 and 255 \(a/00\d\), \d hold 0 and 1 \(b/00\d\)"):
        refuse_mixed_masks(data, data.names)
    refuse_mixed_masks(nifti(masks="index"), data.names)


def test_labels_that_are_no_classes_are_refused() -> None:
    saved("task/images/a.nii", VOXELS)
    saved("task/masks/a.nii", LABELS * 0.5)
    with pytest.raises(DataError, match=r"masks/a\.nii: slice 3 must hold one whole number"):
        nifti().mask("a/003")
    saved("task/masks/a.nii", LABELS * 7)
    with pytest.raises(DataError, match=r"values outside the 2 classes: 7"):
        nifti().mask("a/003")


def test_a_decompressed_volume_is_kept_until_the_file_changes() -> None:
    path = saved("a.nii.gz", VOXELS)
    assert open_volumes((path,))[0] is open_volumes((path,))[0]
    assert isinstance(open_volumes((path,))[0].values, np.ndarray)
    assert not isinstance(open_volumes((saved("a.nii", VOXELS),))[0].values, np.ndarray)
    saved("a.nii.gz", VOXELS + 1)
    assert np.array_equal(open_volumes((path,))[0].read_slice("LPS", 3)[0], AXIAL + 1)


def test_wrong_axes_and_missing_folders_are_refused() -> None:
    cases("a")
    with pytest.raises(RequestError, match=r"dataset\.axis=3: must be one of 0, 1, 2"):
        from_config("dataset=nifti", "dataset.root=task", "dataset.axis=3")
    with pytest.raises(RequestError, match="imagesTr/ and labelsTr/, or images/ and masks/"):
        nifti(root=".")


def test_the_shipped_options_make_one() -> None:
    cases("a")
    words = ["dataset=nifti", "dataset.root=task", "dataset.classes=[ground,organ]"]
    data = from_config(*words)
    assert data.names == nifti().names
    fitted, settings = data.fit(data.names)
    fixed = settings["intensity"]
    assert (fixed["scale"], len(fixed["low"])) == ("fixed", 1)
    assert 0 < fitted.image("a/003").mean() < 1


def test_without_the_extra_the_line_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'segrun\[medical\]'"):
        nifti()
