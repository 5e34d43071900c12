"""All rules together: for `segrun check`, and before each training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from segrun.data.dataset import Dataset, Splits
from segrun.data.scan import image_rules, set_rules
from segrun.data.scan.evidence import Evidence
from segrun.data.scan.findings import Finding, Violation
from segrun.data.scan.scan import DatasetScan, scan_dataset
from segrun.data.scan.settings import Rules
from segrun.data.sizing import Sizing
from segrun.errors import DataError

RULES: dict[str, Callable[[Evidence], Iterable[Violation]]] = {
    rule.__name__: rule
    for rule in (
        image_rules.pairs,
        image_rules.unreadable,
        image_rules.size,
        image_rules.value,
        image_rules.swapped,
        set_rules.copies_between,
        set_rules.contradictory,
        set_rules.not_in_train,
        image_rules.mismatched,
        image_rules.blank,
        image_rules.jpeg_masks,
        image_rules.one_value,
        image_rules.void_masks,
        image_rules.turned,
        set_rules.mixed_masks,
        set_rules.dark,
        set_rules.ignored,
        set_rules.class_absent,
        set_rules.missing,
        set_rules.rare,
        set_rules.copies_within,
        set_rules.near_between,
        set_rules.near_within,
        set_rules.tiny,
        set_rules.modes,
        set_rules.sizes,
    )
}

NOTED = ("not_in_train",)  # errors that do not stop a training: the scores show them, and no other data may be at hand


def run_rules(
    data: Dataset, scan: DatasetScan, splits: Splits, rules: Rules, sizing: Sizing | None = None
) -> list[Finding]:
    """Apply all rules that are not off.

    Args:
        data: The data set.
        scan: Records of all its images.
        splits: The images by split; damaged ones are left out.
        rules: See `Rules`.
        sizing: How the images reach the network; None: not checked.

    Returns:
        The findings, errors first.
    """
    readable = {split: tuple(name for name in names if not scan[name].problem) for split, names in splits.items()}
    evidence = Evidence(data, scan, readable, rules.limits, sizing)
    findings = []
    for rule, violations in RULES.items():
        severity = rules.severities[rule]
        if severity != "off":
            findings += [Finding(rule, severity, tuple(names), text) for names, text in violations(evidence)]
    return sorted(findings, key=lambda finding: finding.severity)


def refuse_mixed_masks(data: Dataset, names: Sequence[str]) -> None:
    """Refuse masks of 0 and 1 beside masks of 0 and 255 in a data set that no rules are set for.

    Args:
        data: The data set; its masks are read where they had to be interpreted.
        names: The images.

    Raises:
        DataError: There are such masks, or files are damaged.
    """
    if data.guessed_index and len(data.classes) == 2:
        for _, text in set_rules.find_mixed_masks(data, scan_dataset(data, names)):
            raise DataError(text)


def check_before_training(data: Dataset, scan: DatasetScan, splits: Splits, rules: Rules) -> list[str]:
    """Refuse data with errors, and summarize the other findings.

    Similar images are left to `segrun check`: finding them among 100,000 takes a minute.

    Args:
        data: The data set.
        scan: Records of all images in `splits`.
        splits: The images by split.
        rules: See `Rules`.

    Returns:
        One line per finding.

    Raises:
        DataError: A rule with the severity "error" found something; rules of `NOTED` excepted.
    """
    findings = run_rules(data, scan, splits, replace(rules, near_between="off", near_within="off"))
    for finding in findings:
        if finding.severity == "error" and finding.rule not in NOTED:
            raise DataError(
                f"{finding.text}\nCorrect the data (segrun check shows it), or continue with rules.{finding.rule}=warn."
            )
    return [" ".join(str(finding).splitlines()) for finding in findings]
