"""What is wrong with a data set, by all rules: for `segrun check`, and in short before each training."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from segrun.data.dataset import Dataset, Splits
from segrun.data.scan import image_rules, set_rules
from segrun.data.scan.findings import Evidence, Finding, Rules, Told
from segrun.data.scan.scan import DatasetScan
from segrun.data.sizing import Sizing
from segrun.errors import DataError

RULES: dict[str, Callable[[Evidence], Iterable[Told]]] = {
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

# found, these make every score worthless; the others make a note when a training begins
STOPPING = ("unreadable", "size", "value", "swapped", "copies_between", "contradictory")


def examine(
    data: Dataset, survey: DatasetScan, splits: Splits, rules: Rules, sizing: Sizing | None = None
) -> list[Finding]:
    """All that the rules find, errors first."""
    readable = {split: tuple(name for name in names if not survey[name].problem) for split, names in splits.items()}
    evidence = Evidence(data, survey, readable, rules.limits, sizing)
    found = [
        Finding(rule, rules.severities[rule], tuple(names), text)
        for rule, look_for in RULES.items()
        if rules.severities[rule] != "off"
        for names, text in look_for(evidence)
    ]
    return sorted(found, key=lambda finding: finding.severity)


def before_training(data: Dataset, survey: DatasetScan, rules: Rules) -> list[str]:
    """The same in short, of the splits that the data set uses: a line each. Near copies are left to `segrun check`: to
    find them among 100,000 images takes a minute.

    Raises:
        DataError: what makes every score worthless, where its rule says error.
    """
    found = examine(data, survey, data.splits, replace(rules, near_between="off", near_within="off"))
    for finding in found:
        if finding.severity == "error" and finding.rule in STOPPING:
            raise DataError(
                f"{finding.text}\nMend the data (segrun check shows it), or go on: rules.{finding.rule}=warn."
            )
    return [" ".join(str(finding).splitlines()) for finding in found]
