"""What a search may vary: the closed list of parameters, the values each can take, and the ways to write a range."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeGuard, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    model_validator,
)

Value = str | int | float  # bool is an int here; only options of heads take it
INSTALLED = "installed"
SIZES = ("smaller", "native", "larger")  # three quarters of a backbone's own size, that size, a seventh more

Name = Literal[
    "backbone", "weights", "recipe", "image_size", "resize", "freeze_depth", "pooling", "taps", "head", "width",
    "depth", "dropout", "penalty", "head_rate", "tail_rate", "layer_decay", "weight_decay", "label_smoothing", "mixup",
    "ema", "balance", "augmentation", "batch_size", "epochs",
]  # fmt: skip
NAMES: tuple[str, ...] = get_args(Name)


@dataclass(frozen=True)
class Domain:
    """The values that a parameter can have at all, whatever a space makes of it."""

    words: tuple[str, ...] = ()
    any_word: bool = False
    whole: bool = False
    low: float = math.inf
    high: float = math.inf

    def __contains__(self, value: object) -> bool:
        if isinstance(value, str):
            return self.any_word or value in self.words
        kinds = int if self.whole else int | float
        return isinstance(value, kinds) and not isinstance(value, bool) and self.low <= value <= self.high

    def __str__(self) -> str:
        kinds = ["a name"] if self.any_word else [f'"{word}"' for word in self.words]
        if self.low < math.inf:
            number = "a whole number" if self.whole else "a number"
            top = f" to {self.high:g}" if self.high < math.inf else " up"
            kinds.append(f"{number} from {self.low:g}{top}")
        return " or ".join(kinds)


_COUNT = Domain(whole=True, low=1)
_RATE = Domain(low=0.0, high=1e3)
DOMAINS: Mapping[str, Domain] = {
    "backbone": Domain(any_word=True),
    "weights": Domain(words=("pretrained", "random")),
    "recipe": Domain(words=("probe", "finetune", "scratch")),
    "image_size": Domain(words=SIZES, whole=True, low=8, high=4096),
    "resize": Domain(words=("stretch", "pad", "trim")),
    "freeze_depth": Domain(low=0.0, high=1.0),
    "pooling": Domain(words=("avg", "max", "both", "gem", "attention")),
    "taps": Domain(words=("last", "last2", "all")),
    "head": Domain(any_word=True),  # which heads are installed is no matter of the file: see autotl/search/heads.py
    "width": _COUNT,
    "depth": _COUNT,
    "dropout": Domain(low=0.0, high=0.95),
    "penalty": Domain(words=("best",), low=0.0, high=1e3),
    "head_rate": _RATE,
    "tail_rate": _RATE,
    "layer_decay": Domain(low=0.01, high=1.0),
    "weight_decay": _RATE,
    "label_smoothing": Domain(low=0.0, high=0.9),
    "mixup": Domain(low=0.0, high=10.0),
    "ema": Domain(words=("on", "off")),
    "balance": Domain(words=("none", "weights", "sampling")),
    "augmentation": Domain(words=("none", "flip", "light", "strong")),
    "batch_size": _COUNT,
    "epochs": _COUNT,
}


def _value(given: object) -> Value:
    if not isinstance(given, str | int | float):
        raise ValueError(f"a value is a text, a number or a truth value, not {given!r}")
    return given


def _known_name(given: str) -> str:
    if given not in NAMES and "." not in given:  # whose option a dotted name is depends on the stage
        raise ValueError("there is no such parameter")
    return given


def _number(given: object) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
        raise ValueError(f"a bound is a finite number, not {given!r}")
    return float(given)


def _whole(given: object) -> int:
    if isinstance(given, bool) or not isinstance(given, int):
        raise ValueError(f"a bound is a whole number, not {given!r}")
    return given


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _several(given: object) -> object:
    return given if isinstance(given, list | tuple) else [given]


def not_empty(given: tuple[Any, ...]) -> tuple[Any, ...]:
    """To be checked after the members, so that faulty ones are not counted as missing."""
    if not given:
        raise ValueError("at least one is needed")
    return given


def _check_order(bounds: tuple[float, float], written: str) -> None:
    if bounds[0] >= bounds[1]:
        raise ValueError(f"{written} takes [low, high] with low below high, not [{bounds[0]:g}, {bounds[1]:g}]")


ParameterName = Annotated[str, AfterValidator(_known_name)]
OneValue = Annotated[Value, PlainValidator(_value)]
Number = Annotated[float, PlainValidator(_number)]
Whole = Annotated[int, PlainValidator(_whole)]
Condition = Annotated[tuple[OneValue, ...], BeforeValidator(_several), AfterValidator(not_empty)]


class _Written(BaseModel):
    """What all kinds share: they are immutable, take no unknown keys, and may depend on other parameters.
    `when` maps a parent's name to the values for which this parameter is active; all parents must agree."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    when: dict[str, Condition] = Field(default_factory=dict)


class Choice(_Written):
    """One of some values: `{ choice = ["avg", "max"] }`."""

    choice: Annotated[tuple[OneValue, ...], AfterValidator(not_empty)]

    @model_validator(mode="after")
    def _distinct(self) -> "Choice":
        if len({(type(value) is bool, value) for value in self.choice}) < len(self.choice):
            raise ValueError("choice names a value twice")
        return self

    def __contains__(self, value: object) -> bool:
        same = [one for one in self.choice if one == value and isinstance(one, bool) == isinstance(value, bool)]
        return bool(same) or (INSTALLED in self.choice and isinstance(value, str))

    def __str__(self) -> str:
        return " | ".join(str(value) for value in self.choice)


class Range(_Written):
    """A number, uniformly: `{ range = [0.0, 0.5] }`."""

    range: tuple[Number, Number]

    @model_validator(mode="after")
    def _ordered(self) -> "Range":
        _check_order(self.range, "range")
        return self

    def __contains__(self, value: object) -> bool:
        return _is_number(value) and self.range[0] <= value <= self.range[1]

    def __str__(self) -> str:
        return f"{self.range[0]:g} to {self.range[1]:g}"


class LogRange(_Written):
    """A positive number, uniformly in its logarithm: `{ log = [1e-5, 1e-2] }`."""

    log: tuple[Number, Number]

    @model_validator(mode="after")
    def _ordered(self) -> "LogRange":
        _check_order(self.log, "log")
        if self.log[0] <= 0:
            raise ValueError(f"log takes bounds above zero, not [{self.log[0]:g}, {self.log[1]:g}]")
        return self

    def __contains__(self, value: object) -> bool:
        return _is_number(value) and self.log[0] <= value <= self.log[1]

    def __str__(self) -> str:
        return f"{self.log[0]:g} to {self.log[1]:g}, logarithmic"


class Integer(_Written):
    """A whole number: `{ integer = [64, 512], log = true }`."""

    integer: tuple[Whole, Whole]
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> "Integer":
        _check_order(self.integer, "integer")
        if self.log and self.integer[0] < 1:
            raise ValueError(f"integer with log takes bounds from 1 up, not {list(self.integer)}")
        return self

    def __contains__(self, value: object) -> bool:
        return _is_number(value) and isinstance(value, int) and self.integer[0] <= value <= self.integer[1]

    def __str__(self) -> str:
        return f"{self.integer[0]} to {self.integer[1]}, whole{', logarithmic' if self.log else ''}"


KINDS: Mapping[str, type[_Written]] = {"choice": Choice, "integer": Integer, "range": Range, "log": LogRange}


def _kind_of(given: Any) -> str | None:
    """Which kind a parameter is written as; `log` is a kind of its own and a flag of `integer`, so it comes last."""
    if isinstance(given, BaseModel):
        return next(kind for kind, model in KINDS.items() if isinstance(given, model))
    return next((kind for kind in KINDS if kind in given), None) if isinstance(given, dict) else None


Parameter = Annotated[
    Annotated[Choice, Tag("choice")]
    | Annotated[Integer, Tag("integer")]
    | Annotated[Range, Tag("range")]
    | Annotated[LogRange, Tag("log")],
    Discriminator(
        _kind_of,
        custom_error_type="kind",
        custom_error_message="a parameter is { choice = [...] }, { range = [low, high] }, { log = [low, high] } "
        "or { integer = [low, high] }",
    ),
]


def ends(parameter: Parameter) -> tuple[Value, ...]:
    """The values that decide whether all of a parameter's values are possible: its options, or its bounds."""
    match parameter:
        case Choice():
            return tuple(value for value in parameter.choice if value != INSTALLED)
        case Integer():
            return parameter.integer
        case Range():
            return parameter.range
        case LogRange():
            return parameter.log
