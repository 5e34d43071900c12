"""COCO-Stuff 164k: 171 classes."""

from __future__ import annotations

from torch import Tensor

from segrun.data.read.masks import read_mask_values
from segrun.data.sets.coco_maps import CocoMaps
from segrun.data.sets.public import map_values
from segrun.types import VOID, ClassMap

# ids 1 to 182 of labels.txt in github.com/nightrome/cocostuff; those in brackets are removed from COCO and never drawn
LABELS = """
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


class CocoStuff(CocoMaps):
    """COCO-Stuff 164k (Caesar et al., CVPR 2018): 80 things and 91 stuff classes in the order of their ids.

    The maps are those of stuffthingmaps_trainval2017.zip, where a value is the id minus 1 and 255 has no label.

    Args:
        root: Holds {train,val}2017/ with the maps in stuffthingmaps/ or annotations/, and {train,val}2017/ with the
            images in images/ or in `root`.

    Raises:
        RequestError: `root` does not hold it.
    """

    def __init__(self, root: str | None) -> None:
        super().__init__(root, ("stuffthingmaps/{}2017", "annotations/{}2017"))
        labels = [name.strip() for name in LABELS.split(",")]
        names = {value: name for value, name in enumerate(labels) if not name.startswith("[")}
        self.classes = ClassMap.of(list(names.values()))
        self.class_of_value = {VOID: VOID, **{value: index for index, value in enumerate(names)}}

    def mask(self, name: str) -> Tensor:
        path = self.pairs[name][1]
        return map_values(read_mask_values(path), path, self.class_of_value)
