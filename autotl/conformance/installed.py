"""The conformance kit on an installed plugin, as JSON: what was checked, what was measured, what is broken."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from autotl.conformance.backbone import check_backbone
from autotl.conformance.head import check_head
from autotl.conformance.rules import BrokenRule, Passed
from autotl.entry_points import Kind, load_entry
from autotl.errors import PluginError

CHECKS: Mapping[str, Callable[[Any, str], tuple[Passed, ...]]] = {
    "backbone": lambda record, weights: check_backbone(record, weights=weights).checks,
    "head": lambda record, weights: check_head(record).checks,
}


def check_entry(kind: Kind, name: str, weights: str) -> dict[str, Any]:
    """Load a registered backbone or head and check it.

    Returns:
        `kind`, `name`, `passed`, `checks` (those that hold: `name`, `text`, `found`, `seconds`) and `broken` (`name`,
        `text`, `found` and `advice` of the rule that does not, or None).
    """
    report: dict[str, Any] = {"kind": kind.word, "name": name, "passed": False, "checks": [], "broken": None}
    try:
        record = load_entry(kind, name)
        passed = CHECKS[kind.word](record, weights)
    except PluginError as error:
        text = f"A {kind.word} can be loaded, from one distribution."
        report["broken"] = {"name": "loading", "text": text, "found": str(error), "advice": ""}
    except BrokenRule as rule:
        report["checks"] = [asdict(item) for item in rule.passed]
        report["broken"] = {"name": rule.name, "text": rule.text, "found": rule.found, "advice": rule.advice}
    else:
        report |= {"passed": True, "checks": [asdict(item) for item in passed]}
    return report
