"""A rule of a contract with the check that tells whether it is kept, and how a broken one is told."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from autotl.errors import UsageError


@dataclass(frozen=True)
class Rule:
    """One thing that autotl relies on."""

    name: str
    text: str
    """The rule, in one sentence."""
    check: Callable[[Any], str]
    """Gives in a few words what was measured on the subject; raises a RuleError where the rule does not hold."""


@dataclass(frozen=True)
class Passed:
    """A rule that was found to hold."""

    name: str
    text: str
    found: str
    """What was measured."""
    seconds: float


class BrokenRule(AssertionError):  # noqa: N818 - what it says is that a rule is broken
    """A plugin breaks its contract.

    Attributes:
        name: of the check.
        text: the rule.
        found: what was found instead.
        advice: what its author can do.
        passed: the checks before it.
    """

    def __init__(self, rule: Rule, found: str, advice: str, passed: tuple[Passed, ...]) -> None:
        super().__init__(f"{rule.name}: {rule.text} Found: {found} {advice}".rstrip())
        self.name, self.text, self.found, self.advice, self.passed = rule.name, rule.text, found, advice, passed


class RuleError(Exception):
    """Raised by a check whose rule does not hold: what was found (a sentence), and what to do about it."""

    def __init__(self, found: str, advice: str) -> None:
        super().__init__(found)
        self.found, self.advice = found, advice


def apply_rules(rules: Sequence[Rule], subject: Any, skip: Collection[str] = ()) -> tuple[Passed, ...]:
    """Check one rule after the other.

    Raises:
        UsageError: `skip` names a check that there is none of.
        BrokenRule: at the first one that does not hold. Whatever the subject's own code raises breaks the rule too.
    """
    names = [rule.name for rule in rules]
    if unknown := sorted(set(skip) - set(names)):
        raise UsageError(f"The checks are {', '.join(names)}; there is no {', '.join(unknown)} to skip.")
    passed: list[Passed] = []
    for rule in rules:
        if rule.name in skip:
            continue
        started = time.perf_counter()
        try:
            found = rule.check(subject)
        except RuleError as fault:
            raise BrokenRule(rule, fault.found, fault.advice, tuple(passed)) from fault.__cause__
        except Exception as error:  # the code of a plugin may fail in any way
            found = f"it raised {type(error).__name__}: {error}."
            raise BrokenRule(rule, found, "The traceback shows where.", tuple(passed)) from error
        passed.append(Passed(rule.name, rule.text, found, time.perf_counter() - started))
    return tuple(passed)
