"""What a study knows of KerasTuner hypermodels: their hyperparameters as workers have met them, and a trial's values.

A hypermodel shows its hyperparameters only while it builds, so they come in by rounds (`autotl.heads.replay`). They are
kept in the study: later trials give values for all of them at once, and a resumed study asks under the same names.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.samplers import PartialFixedSampler
from optuna.trial import Trial

from autotl.errors import PluginError
from autotl.space.tuner import Declaration, ask, default_parameters, merge

MAX_ROUNDS = 20
KNOWN = "hyperparameters of "


@dataclass
class Inquiry:
    """The rounds of one trial: what its hypermodel has asked for so far."""

    needs: list[Declaration] = field(default_factory=list)
    rounds: int = 0


def known_of(study: optuna.Study, owner: str) -> list[Declaration]:
    """The declarations of a hypermodel that some worker has met, parents before children."""
    found: dict[str, Any] = study.user_attrs.get(KNOWN + owner, {})
    return list(found.get("declarations", []))


def known_values(study: optuna.Study, trial: Trial, config: dict[str, Any]) -> dict[str, Any]:
    """The settings of a trial with a value for every hyperparameter that is known of its head and its backbone."""
    options = dict(config.get("options", {}))
    for owner in (config.get("head"), config["backbone"]):
        if owner is not None and (known := known_of(study, owner)):
            with _defaults_for_the_first(study, trial, owner, known):
                options |= ask(known, trial, f"{owner}.")
    return {**config, "options": options} if options else config


def is_undeclared(study: optuna.Study, config: Mapping[str, Any]) -> bool:
    """Whether settings name a hypermodel whose hyperparameters no worker has met yet."""
    owners = (config.get("head"), config["backbone"])
    return any(owner is not None and ":" in owner and not known_of(study, owner) for owner in owners)


def answer(
    study: optuna.Study,
    trial: Trial,
    config: dict[str, Any],
    owner: str,
    needs: Sequence[Declaration],
    inquiry: Inquiry,
) -> dict[str, Any]:
    """The settings of a trial with values for what its worker asked for, from the same trial.

    The first trial that meets a hypermodel gets the defaults of all of it: they are what its author would try first.

    Raises:
        PluginError: the hypermodel never stops asking.
    """
    inquiry.rounds += 1
    if inquiry.rounds > MAX_ROUNDS:
        names = ", ".join(str(need["name"]) for need in needs)
        raise PluginError(
            f"A hypermodel must come to an end of its hyperparameters; after {MAX_ROUNDS} rounds {owner} still asks "
            f"for {names}. See that it asks for the same ones when it is built with the same values."
        )
    inquiry.needs = merge(inquiry.needs, needs)
    found: dict[str, Any] = study.user_attrs.get(KNOWN + owner, {"first": trial.number})
    declarations = merge(found.get("declarations", []), needs)
    study.set_user_attr(KNOWN + owner, {**found, "declarations": declarations})
    with _defaults_for_the_first(study, trial, owner, declarations):
        values = ask(declarations, trial, f"{owner}.", inquiry.needs)
    return {**config, "options": {**config.get("options", {}), **values}}


@contextmanager
def _defaults_for_the_first(
    study: optuna.Study, trial: Trial, owner: str, declarations: Sequence[Declaration]
) -> Iterator[None]:
    """The trial that met a hypermodel first gets its defaults, also from a driver that goes on with it."""
    sampler = study.sampler
    if study.user_attrs[KNOWN + owner]["first"] == trial.number:
        study.sampler = PartialFixedSampler(default_parameters(declarations, f"{owner}."), sampler)
    try:
        yield
    finally:
        study.sampler = sampler
