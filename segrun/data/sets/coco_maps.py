"""COCO 2017 with a label for every pixel: panoptic segments and COCO-Stuff, as masks of classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segrun.data.read.images import mask_values, open_image
from segrun.data.sets.annotated import read_json
from segrun.data.sets.files import Pairs, existing, files_in, paired
from segrun.data.sets.public import recoded
from segrun.errors import DataError, RequestError, join_names
from segrun.types import VOID, ClassMap

# ids 1 to 182 of labels.txt in github.com/nightrome/cocostuff; those in brackets are removed from COCO and never drawn
STUFF = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, [street sign],
stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, [hat], backpack,
umbrella, [shoe], [eye glasses], handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat,
baseball glove, skateboard, surfboard, tennis racket, bottle, [plate], wine glass, cup, fork, knife, spoon, bowl,
banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed,
[mirror], dining table, [window], [desk], toilet, [door], tv, laptop, mouse, remote, keyboard, cell phone, microwave,
oven, toaster, sink, refrigerator, [blender], book, clock, vase, scissors, teddy bear, hair drier, toothbrush,
[hair brush], banner, blanket, branch, bridge, building-other, bush, cabinet, cage, cardboard, carpet, ceiling-other,
ceiling-tile, cloth, clothes, clouds, counter, cupboard, curtain, desk-stuff, dirt, door-stuff, fence, floor-marble,
floor-other, floor-stone, floor-tile, floor-wood, flower, fog, food-other, fruit, furniture-other, grass, gravel,
ground-other, hill, house, leaves, light, mat, metal, mirror-stuff, moss, mountain, mud, napkin, net, paper, pavement,
pillow, plant-other, plastic, platform, playingfield, railing, railroad, river, road, rock, roof, rug, salad, sand, sea,
shelf, sky-other, skyscraper, snow, solid-other, stairs, stone, straw, structural-other, table, tent, textile-other,
towel, tree, vegetable, wall-brick, wall-concrete, wall-other, wall-panel, wall-stone, wall-tile, wall-wood,
water-other, waterdrops, window-blind, window-other, wood
"""


class Maps(Pairs):
    """Images of COCO 2017 with a PNG of the same name each."""

    def pair(self, root: str | None, maps: Sequence[str]) -> dict[str, Path]:
        """Fills `pairs` and `splits`; gives the folder of each split's maps.

        maps: folders that may hold them, {} for the split.
        """
        self.root = existing(root)
        self.notes: list[str] = []
        self.problems: list[str] = []
        self.pairs = {}
        found: dict[str, Path] = {}
        for split in ("train", "val"):
            there = [p for p in (self.root / maps_.format(split) for maps_ in maps) if p.is_dir()]
            if there:
                found[split] = there[0]
                images = self.root / f"images/{split}2017"
                place = (images if images.is_dir() else self.root / f"{split}2017", there[0])
                files, masks = (files_in(folder, self.notes, self.problems) for folder in place)
                pairs = paired(files, masks, place, self.problems, "Complete the pairs.")
                self.pairs.update({f"{split}/{name}": pair for name, pair in pairs.items()})
        if not found:
            wanted = " or ".join(maps_.format("train") for maps_ in maps)
            raise RequestError(f"{self.root}: dataset.root is to hold {wanted}, or the same of val.")
        self.splits = self.within(found)
        return found


class Panoptic(Maps):
    """COCO panoptic (Kirillov et al., CVPR 2019): the 133 categories of its JSON in the order of their ids. Crowds are
    of their category, as in panopticapi's conversion to semantic masks.

    root: annotations/panoptic_{train,val}2017.json, the PNGs in folders of these names in annotations/ or in root, and
    {train,val}2017/ in images/ or in root.

    Raises:
        DataError: a JSON file that is not COCO panoptic's.
    """

    def __init__(self, root: str | None) -> None:
        self.segments: dict[str, NDArray[np.int64]] = {}  # (segment, class) of each image
        self.listings: dict[str, Path] = {}
        categories: dict[int, str] = {}
        for split, masks in self.pair(root, ("annotations/panoptic_{}2017", "panoptic_{}2017")).items():
            file = self.listings[split] = self.root / "annotations" / f"{masks.name}.json"
            content = read_json(file)
            try:
                categories |= {int(category["id"]): str(category["name"]) for category in content["categories"]}
                value = {id_: index for index, id_ in enumerate(sorted(categories))}
                for entry in content["annotations"]:
                    rows = [(segment["id"], value[segment["category_id"]]) for segment in entry["segments_info"]]
                    name = f"{split}/{entry['file_name'].removesuffix('.png')}"
                    self.segments[name] = np.array(rows, np.int64).reshape(-1, 2)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise DataError(f"{file}: is no COCO panoptic JSON ({type(error).__name__}: {error}).") from error
            if len(value) != len(content["categories"]):
                raise DataError(f"{file}: its categories are not those of the other split.")
        if lost := sorted(self.pairs.keys() - self.segments.keys()):
            self.problems.append(f"{self.root}: {len(lost)} images are not in the panoptic JSON: {join_names(lost)}.")
        self.classes = ClassMap.of([name for _, name in sorted(categories.items())])

    def files(self, name: str) -> tuple[Path, ...]:
        return (*self.pairs[name], self.listings[name.partition("/")[0]])

    def mask(self, name: str) -> Tensor:
        path = self.pairs[name][1]
        colours = np.asarray(open_image(path).convert("RGB"), np.int64)
        present, inverse = np.unique(colours @ np.array([1, 256, 65536]), return_inverse=True)
        known = {0: VOID, **dict(self.segments.get(name, np.zeros((0, 2), np.int64)).tolist())}
        if strange := [value for value in present.tolist() if value not in known]:
            file = self.files(name)[2]
            raise DataError(f"{path}: segments that {file} does not list: {join_names(strange)}. Unpack both anew.")
        lookup = np.array([known[value] for value in present.tolist()], np.uint8)
        return torch.from_numpy(lookup[inverse].reshape(colours.shape[:2]))


class Stuff(Maps):
    """COCO-Stuff 164k (Caesar et al., CVPR 2018): 80 things and 91 stuff in the order of their ids, as in
    stuffthingmaps_trainval2017.zip, where a value is the id less 1 and 255 has no label.

    root: {train,val}2017/ with these maps in stuffthingmaps/ or annotations/, with the images in images/ or in root.
    """

    def __init__(self, root: str | None) -> None:
        self.pair(root, ("stuffthingmaps/{}2017", "annotations/{}2017"))
        labels = enumerate(name.strip() for name in STUFF.split(","))
        kept = [(value, name) for value, name in labels if not name.startswith("[")]
        self.classes = ClassMap.of([name for _, name in kept])
        self.codes = {VOID: VOID, **{value: index for index, (value, _) in enumerate(kept)}}

    def mask(self, name: str) -> Tensor:
        path = self.pairs[name][1]
        return recoded(mask_values(path), path, self.codes)
