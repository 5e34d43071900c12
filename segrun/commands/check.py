"""`segrun check`: what is wrong with a data set, before a training shows it the slow way."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segrun.config.build import build, to_dataclass
from segrun.config.compose import Config, to_dict
from segrun.data.augment.augment import Augment
from segrun.data.dataset import Dataset, Splits
from segrun.data.loader.batches import Stream, TrainingSamples
from segrun.data.scan.checks import examine
from segrun.data.scan.findings import Finding, Rules
from segrun.data.scan.scan import DatasetScan, scan_all
from segrun.data.sizing import Sizing
from segrun.data.split.splits import SplitSettings, split
from segrun.device import tune_malloc
from segrun.errors import DataError, RequestError, join_names
from segrun.experiment import assemble
from segrun.files import create_dir, write_json, write_text
from segrun.report.html.page import Bars, Note, Picture, Section, Table, overlay, page
from segrun.report.terminal import console, counting, print_line

EXAMPLES = 3  # names in the terminal's table
BINS = 16  # of the histogram of intensities
SIZES = 12  # most frequent sizes that are shown


@dataclass(frozen=True)
class Checked:
    """findings: errors first; folder: where index.html and findings.json are."""

    findings: tuple[Finding, ...]
    folder: Path

    @property
    def status(self) -> int:
        return 1 if any(finding.severity == "error" for finding in self.findings) else 0


def run(cfg: Config) -> Checked:
    values = to_dict(cfg)
    rules = to_dataclass(values["rules"], Rules, "rules")
    settings = to_dataclass(values["split"], SplitSettings, "split")
    for key in ("samples", "preview"):
        if not isinstance(values[key], int) or values[key] < 0:
            raise RequestError(f"{key}={values[key]}: a number of images from 0 on.")
    tune_malloc()  # a look frees and takes the same blocks again and again
    data: Dataset = build(values["dataset"], "dataset")
    sizing = assemble.sizing(values)
    with counting("looking at every image and mask", len(data.names)) as advance:
        survey = scan_all(data, data.names, advance)
    splits, notes, refused = parted(data, survey, settings, rules)
    findings = (*refused, *examine(data, survey, splits, rules, sizing))
    findings = tuple(sorted(findings, key=lambda finding: finding.severity))
    name = assemble.data_word(values)
    clock = Path(values["output"]).expanduser() / "check" / time.strftime("%Y-%m-%d") / time.strftime("%H-%M-%S")
    folder = create_dir(clock.with_name(f"{clock.name}_{name}"))
    result = Checked(findings, folder)
    tables = [by_class(data, survey, splits)]
    said = [*data.notes, *survey.notes, *notes]
    shown = previewed(values, data, splits.get("train", ()), sizing)
    write(result, f"segrun check: {name}", data, survey, splits, tables, said, values["samples"], shown)
    tell(result, tables, said, len(data.names))
    return result


def parted(
    data: Dataset, survey: DatasetScan, settings: SplitSettings, rules: Rules
) -> tuple[Splits, list[str], list[Finding]]:
    """The splits that a training would use, of the images that can be read; what is said of them; and why there are
    none, where they cannot be made."""
    sound = survey.readable()
    there = set(sound.names)
    data.use({key: tuple(name for name in names if name in there) for key, names in data.splits.items()})
    if not sound.names:
        return {}, [], []
    try:
        splits, notes = split(data, sound.names, settings, sound.pixels > 0, sound.digests)
    except RequestError as error:
        if settings.file is not None or settings.groups is not None or rules.split == "off":
            raise
        return data.splits, [], [Finding("split", rules.split, (), str(error))]
    return splits, notes, []


def by_class(data: Dataset, survey: DatasetScan, splits: Splits) -> Table:
    """Of each class, its share of the labelled pixels and the images that show it, by split."""
    rows = [[name] for name in data.classes.names]
    splits = {split: names for split, names in splits.items() if names}
    for names in splits.values():
        pixels = survey.of(names).pixels
        shares = 100 * pixels.sum(0) / max(1, int(pixels.sum()))
        for row, share, count in zip(rows, shares.tolist(), (pixels > 0).sum(0).tolist(), strict=True):
            row += [f"{share:.2f}", str(count)]
    head = ["class", *(column for split in splits for column in (f"{split}: % of pixels", "images"))]
    counts = ", ".join(f"{len(names)} {split}" for split, names in splits.items())
    return Table(f"classes ({counts})", head, rows)


def histograms(data: Dataset, survey: DatasetScan) -> list[Bars]:
    sound = survey.readable()
    if not sound.names:
        return []
    pixels, names = sound.pixels, data.classes.names
    sizes = Counter(f"{seen.size[1]}×{seen.size[0]}" for seen in survey.looks if seen.digest)
    frequent = sizes.most_common(SIZES)
    if rest := sum(sizes.values()) - sum(count for _, count in frequent):
        frequent.append(("others", rest))
    bright, edges = np.histogram([seen.mean for seen in survey.looks if seen.digest], BINS, (0, 1))
    ranges = (f"{low:.2f} to {high:.2f}" for low, high in itertools.pairwise(edges))
    return [
        Bars("pixels a class", list(zip(names, pixels.sum(0).tolist(), strict=True))),
        Bars("images a class", list(zip(names, (pixels > 0).sum(0).tolist(), strict=True))),
        Bars("images a size (width×height)", frequent),
        Bars("images by mean intensity", list(zip(ranges, bright.tolist(), strict=True))),
    ]


def write(
    result: Checked, title: str, data: Dataset, survey: DatasetScan, splits: Splits, tables: Sequence[Table],
    said: Sequence[str], samples: int, shown: Sequence[Picture],
) -> None:  # fmt: skip
    """index.html and findings.json."""

    def pictures(names: Sequence[str]) -> list[Picture]:
        shown = []
        for name in [name for name in names if not survey[name].problem][:samples]:
            try:
                shown.append(Picture(name, overlay(data.sample(name), data.classes)))
            except DataError as error:  # changed since it was looked at
                shown.append(Picture(str(error), np.full((1, 1, 3), 255, np.uint8)))
        return shown

    found = [Note(str(finding), finding.severity, pictures(finding.names)) for finding in result.findings]
    sections = [
        Section(f"findings in {len(data.names)} images", found or [Note("nothing")]),
        Section("numbers", [*tables, *(Note(line) for line in said), *histograms(data, survey)]),
        *([Section("what the network sees of train", shown)] if shown else []),
        *(Section(split, pictures(spread(names, samples))) for split, names in splits.items()),
    ]
    write_text(result.folder / "index.html", page(title, sections))
    problems = {name: survey[name].problem for name in data.names if survey[name].problem}
    findings = [dataclasses.asdict(finding) for finding in result.findings]
    write_json(result.folder / "findings.json", {"images": len(data.names), "findings": findings, "problems": problems})


def previewed(values: Mapping[str, Any], data: Dataset, names: Sequence[str], sizing: Sizing) -> list[Picture]:
    """The first training samples of a run with this seed, fitted and augmented."""
    count = values["preview"] if names else 0
    augment: Augment = build(values["augment"], "augment")
    samples = TrainingSamples(data, names, sizing, augment, values["seed"], lambda sample: {})
    keys = next(iter(Stream(len(names), count, values["seed"]))) if count else []
    return [Picture(sample.name, overlay(sample, data.classes)) for sample in map(samples.sample, keys)]


def spread(names: Sequence[str], count: int) -> list[str]:
    """So many of them, evenly over all."""
    last = len(names) - 1
    places = {round(i * last / max(1, count - 1)) for i in range(count)} if names else set()
    return [names[place] for place in sorted(places)]


def tell(result: Checked, tables: Sequence[Table], said: Sequence[str], images: int) -> None:
    out = console()
    if result.findings:
        rows = [(f.rule, f.severity, str(len(f.names) or ""), join_names(f.names, EXAMPLES)) for f in result.findings]
        out.print(Table("findings", ("rule", "", "images", "the first of them"), rows).shown())
    for finding in result.findings:
        style = "red" if finding.severity == "error" else "yellow"
        print_line(f"{finding.severity}: {finding}", style)
    for table in tables:
        out.print(table.shown())
    for line in said:
        print_line(line)
    counts = Counter(finding.severity for finding in result.findings)
    summary = f"{images} images; errors: {counts['error']}, warnings: {counts['warn']}. {result.folder / 'index.html'}"
    print_line(summary)
