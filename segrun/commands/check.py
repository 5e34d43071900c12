"""`segrun check`: what is wrong with a data set, before a training fails on it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segrun.config.build import to_dataclass
from segrun.config.recorded import RecordedConfig
from segrun.data.dataset import Dataset, Splits
from segrun.data.loader.batch_sampler import EndlessBatchSampler
from segrun.data.loader.train_dataset import TrainDataset
from segrun.data.scan.checks import run_rules
from segrun.data.scan.findings import Finding
from segrun.data.scan.scan import DatasetScan, scan_all
from segrun.data.split.splits import make_splits
from segrun.device import tune_malloc
from segrun.errors import RequestError, join_names
from segrun.experiment.experiment import DataSettings
from segrun.files import check_writable, create_dir, timestamped_path, write_json, write_text
from segrun.ranges import NonNegativeInt
from segrun.report.html.check_page import CheckedData, check_page, class_table
from segrun.report.html.page import Picture
from segrun.report.pictures import overlay
from segrun.report.table import Table
from segrun.report.terminal import console, print_line, progress_bar

EXAMPLES = 3  # names in the terminal's table


@dataclass(frozen=True)
class CheckSettings:
    """Keys of `segrun check`; see conf/check.yaml."""

    samples: NonNegativeInt
    preview: NonNegativeInt
    output: str


@dataclass(frozen=True)
class CheckResult:
    """The findings, errors first, and the folder with index.html and findings.json."""

    findings: tuple[Finding, ...]
    folder: Path

    @property
    def status(self) -> int:
        """The exit status."""
        return 1 if any(finding.severity == "error" for finding in self.findings) else 0


def run(config: Mapping[str, Any]) -> CheckResult:
    """Read every image and mask, print the findings, and write a page.

    Raises:
        RequestError: A setting is wrong, or a split file or groups cannot be used.
    """
    settings = to_dataclass(config, CheckSettings, "")
    check_writable(Path(settings.output).expanduser())
    data_settings = DataSettings.from_config(config)
    tune_malloc()  # reading frees and takes the same blocks again and again
    dataset = data_settings.dataset()
    with progress_bar("reading every image and mask", len(dataset.names)) as advance:
        scan = scan_all(dataset, dataset.names, advance)
    splits, notes, failed = _splits(dataset, scan, data_settings)
    found = [*failed, *run_rules(dataset, scan, splits, data_settings.rules, data_settings.sizing)]
    findings = tuple(sorted(found, key=lambda finding: finding.severity))
    lines = [*dataset.notes, *scan.notes, *notes]
    data = CheckedData(dataset, scan, splits)
    preview = _preview(dataset, splits.get("train", ()), data_settings, settings.preview)
    name = RecordedConfig(config).dataset_name
    folder = create_dir(timestamped_path(settings.output, "check", name))
    page = check_page(f"segrun check: {name}", data, findings, lines, settings.samples, preview)
    write_text(folder / "index.html", page)
    _write_findings(folder, data, findings)
    result = CheckResult(findings, folder)
    _print(result, [class_table(data)], lines, len(dataset.names))
    return result


def _splits(
    dataset: Dataset, scan: DatasetScan, settings: DataSettings
) -> tuple[Splits, Sequence[str], Sequence[Finding]]:
    """The splits that a training would use, of the images that can be read; notes; and why they cannot be made."""
    readable = scan.readable()
    names = set(readable.names)
    official = {split: tuple(n for n in members if n in names) for split, members in dataset.splits.items()}
    if not readable.names:
        return {}, [], []
    present = readable.pixel_counts > 0
    try:
        splits, notes = make_splits(dataset, readable.names, settings.split, present, readable.digests, official)
    except RequestError as error:
        asked_for = settings.split.file is not None or settings.split.groups is not None
        if asked_for or settings.rules.split == "off":
            raise
        return official, [], [Finding("split", settings.rules.split, (), str(error))]
    return splits, notes, []


def _preview(dataset: Dataset, names: Sequence[str], settings: DataSettings, count: int) -> list[Picture]:
    """The first training samples of a run with this seed, resized and augmented."""
    if not names or not count:
        return []
    samples = TrainDataset(dataset, names, settings.sizing, settings.augment, settings.seed, lambda sample: {})
    keys = next(iter(EndlessBatchSampler(len(names), count, settings.seed)))
    return [Picture(sample.name, overlay(sample, dataset.classes)) for sample in map(samples.sample, keys)]


def _write_findings(folder: Path, data: CheckedData, findings: Sequence[Finding]) -> None:
    names = data.dataset.names
    problems = {name: data.scan[name].problem for name in names if data.scan[name].problem}
    content = {"images": len(names), "findings": [dataclasses.asdict(f) for f in findings], "problems": problems}
    write_json(folder / "findings.json", content)


def _print(result: CheckResult, tables: Sequence[Table], lines: Sequence[str], images: int) -> None:
    if result.findings:
        rows = [(f.rule, f.severity, str(len(f.names) or ""), join_names(f.names, EXAMPLES)) for f in result.findings]
        console().print(Table("findings", ("rule", "", "images", "first images"), rows).rich())
    for finding in result.findings:
        print_line(f"{finding.severity}: {finding}", "red" if finding.severity == "error" else "yellow")
    for table in tables:
        console().print(table.rich())
    for line in lines:
        print_line(line)
    counts = Counter(finding.severity for finding in result.findings)
    page = result.folder / "index.html"
    print_line(f"{images} images; errors: {counts['error']}, warnings: {counts['warn']}. {page}")
