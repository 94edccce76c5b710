"""What `ablations.py` compares: searches with one part taken away, and other ways to spend the same time.

Most variants are other spaces, made here from the shipped ones as they are today, so that they never go stale. Two need
another job in the workers; see `ablated_jobs.py`.
"""

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from autotl.space.files import find_space

RawSpace = dict[str, Any]
FULL = "full"
MANY_TRIALS = 1000  # more than any budget here pays for: then the time ends a stage, not the number


@dataclass(frozen=True)
class Variant:
    """A way to search.

    Attributes:
        name: in tables and results.
        what: one line for the reader.
        base: the shipped space it starts from.
        change: what is done to that space.
        job: a function of `ablated_jobs` through which every trial runs, where a space cannot say it.
    """

    name: str
    what: str
    base: str = "standard"
    change: Callable[[RawSpace], RawSpace] = deepcopy
    job: str | None = None

    def space(self, *, endless: bool = False) -> RawSpace:
        """The space as TOML would be read; `endless`: its only stage goes on until the time is up."""
        with find_space(self.base).open("rb") as file:
            raw = self.change(tomllib.load(file))
        if endless and len(raw["stage"]) == 1 and raw["stage"][0]["trials"] > 1:
            raw["stage"][0]["trials"] = MANY_TRIALS
        return raw


def every_stage(**fields: Any) -> Callable[[RawSpace], RawSpace]:
    """A change that sets these fields in all stages."""

    def change(raw: RawSpace) -> RawSpace:
        return {**raw, "stage": [{**stage, **fields} for stage in raw["stage"]]}

    return change


def without(field: str) -> Callable[[RawSpace], RawSpace]:
    """A change that leaves this field out of all stages."""

    def change(raw: RawSpace) -> RawSpace:
        kept = [{name: value for name, value in stage.items() if name != field} for stage in raw["stage"]]
        return {**raw, "stage": kept}

    return change


def without_choice(name: str, value: str) -> Callable[[RawSpace], RawSpace]:
    """A change that gives a parameter this one value, wherever it is searched."""

    def change(raw: RawSpace) -> RawSpace:
        stages = []
        for stage in raw["stage"]:
            if name in stage["parameters"]:
                parameters = {**stage["parameters"], name: {"choice": [value]}}
                first = [{**values, name: value} for values in stage.get("first", [])]
                stage = {**stage, "parameters": parameters, "first": first}
            stages.append(stage)
        return {**raw, "stage": stages}

    return change


def single_default(backbone: str) -> Callable[[RawSpace], RawSpace]:
    """A change that leaves one fine-tune: with the first configurations of all stages up to the first that tunes."""

    def change(raw: RawSpace) -> RawSpace:
        tuning = next(number for number, stage in enumerate(raw["stage"]) if stage["recipe"] == "finetune")
        values: dict[str, Any] = {}
        for stage in raw["stage"][: tuning + 1]:
            values |= stage.get("first", [{}])[0]
        values["backbone"] = backbone
        last = raw["stage"][tuning]
        kept = {name: last[name] for name in ("evaluation", "epochs", "folds", "repeats") if name in last}
        parameters = {name: {"choice": [value]} for name, value in values.items()}
        stage = {"name": "default", "recipe": "finetune", "trials": 1, **kept, "parameters": parameters}
        return {"description": "One fine-tune with default settings.", "stage": [stage]}

    return change


def ablations(default_backbones: Sequence[str]) -> list[Variant]:
    """The whole search, and the search without each of its parts."""
    return [
        Variant(FULL, "the space `standard`"),
        Variant("no feature store", "features are computed anew in every job", job="without_feature_store"),
        Variant("no trace reuse", "a worker forgets networks and traced graphs after every job", job="without_reuse"),
        Variant("whole screening", "backbones are ranked on all images", change=without("images")),
        Variant("stretched", "images are stretched, never trimmed", change=without_choice("resize", "stretch")),
        Variant("no gate", "fine-tuning is searched in any case", change=every_stage(gate=False)),
        Variant("no stages", "the space `flat`: one study over everything", base="flat"),
        Variant("random sampler", "the same stages, sampled at random", change=every_stage(sampler="random")),
        Variant(
            "hold-out", "frozen heads are scored on the validation split, too", change=every_stage(evaluation="holdout")
        ),
        *_defaults(default_backbones),
        Variant("frozen only", "the space `quick`", base="quick"),
    ]


def peers(default_backbones: Sequence[str]) -> list[Variant]:
    """Other ways to spend the same wall time."""
    return [
        Variant(FULL, "the space `standard`"),
        Variant("no stages", "the space `flat`: one study over everything, TPE", base="flat"),
        Variant(
            "random search", "the space `flat`, sampled at random", base="flat", change=every_stage(sampler="random")
        ),
        *_defaults(default_backbones),
    ]


def _defaults(backbones: Sequence[str]) -> list[Variant]:
    return [
        Variant(f"default {name}", f"one fine-tune of {name} with default settings", change=single_default(name))
        for name in backbones
    ]


def write_toml(raw: Mapping[str, Any]) -> str:
    """A space as TOML: plain values, and the stages with their parameters and first configurations."""
    lines = [f"{name} = {_value(value)}" for name, value in raw.items() if name != "stage"]
    for stage in raw["stage"]:
        lines += ["", "[[stage]]"]
        lines += [f"{name} = {_value(value)}" for name, value in stage.items() if name not in ("parameters", "first")]
        if stage.get("parameters"):
            lines += ["", "[stage.parameters]"]
            lines += [f"{json.dumps(name)} = {_value(value)}" for name, value in stage["parameters"].items()]
        for first in stage.get("first", []):
            lines += [
                "",
                "[[stage.first]]",
                *(f"{json.dumps(name)} = {_value(value)}" for name, value in first.items()),
            ]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(name)} = {_value(item)}" for name, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return json.dumps(value)  # strings, numbers and truth values are written alike in JSON and TOML
