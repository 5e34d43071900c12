"""CamVid in SegNet's layout: street scenes, 11 classes."""

from __future__ import annotations

from segrun.data.dataset import SPLITS
from segrun.data.sets.files import FileReport, Pair, add_prefix, dataset_root, list_pairs, split_folders
from segrun.data.sets.pairs import ImageMaskPairs
from segrun.types import ClassMap

LAYOUT = "train/ trainannot/ val/ valannot/ test/ testannot/"
NAMES = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "cyclist")
PALETTE = (
    (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0),
    (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
)  # fmt: skip


class CamVid(ImageMaskPairs):
    """CamVid (Brostow et al., 2009) as split by SegNet (Badrinarayanan et al., PAMI 2017).

    The value in a mask is the class index; 11 is void.

    Args:
        root: Holds train/ trainannot/ val/ valannot/ test/ testannot/.

    Raises:
        RequestError: `root` or one of these folders is missing.
    """

    ignore_index = 11

    def __init__(self, root: str | None) -> None:
        self.root = dataset_root(root)
        self.classes = ClassMap(NAMES, PALETTE)
        report = FileReport()
        splits = split_folders(self.root) or list(SPLITS)
        self.pairs: dict[str, Pair] = {}
        for split in splits:
            pairs = list_pairs(self.root / split, self.root / f"{split}annot", report, layout=LAYOUT)
            self.pairs.update(add_prefix(split, pairs))
        self.splits = self.splits_by_prefix(splits)
        self.notes, self.problems = report.notes, report.problems
