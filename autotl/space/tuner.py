"""KerasTuner's hyperparameters, asked of a sampler: from one declaration, as JSON, to a value of the same kind.

A declaration is what `autotl.heads.replay.declaration` writes down of a `keras_tuner` hyperparameter: `kind`, `name`,
`conditions` (a list of `{"name", "values"}`; all parents must agree), `default`, and by kind `values` and `ordered`, or
`min`, `max`, `step` and `sampling`. Neither Keras nor Optuna is imported here.

What is ordered but not evenly spaced goes to the sampler as a position, so that it learns that neighbours are alike:
the values of a numeric choice, the steps of a range (in logarithmic sampling a step multiplies), and the share of the
way through a range that is sampled in reverse. The values are KerasTuner's own, to the last digit
(https://github.com/keras-team/keras-tuner, `engine/hyperparameters/hp_types`).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

Declaration = Mapping[str, Any]
Value = str | int | float | bool


class Suggester(Protocol):
    """What is used of an `optuna.Trial`."""

    def suggest_categorical(self, name: str, choices: Sequence[Any], /) -> Any: ...
    def suggest_float(self, name: str, low: float, high: float, /, *, log: bool = False) -> float: ...
    def suggest_int(self, name: str, low: int, high: int, /, *, step: int = 1, log: bool = False) -> int: ...


def merge(known: Sequence[Declaration], needs: Iterable[Declaration]) -> list[Declaration]:
    """The known declarations and the new ones after them; the order keeps parents before their children."""
    merged = list(known)
    merged += [need for need in needs if need not in merged]
    return merged


def ask(
    declarations: Sequence[Declaration], trial: Suggester, prefix: str = "", wanted: Sequence[Declaration] | None = None
) -> dict[str, Value]:
    """Ask for a value of every declaration that is active.

    Args:
        declarations: all that are known, parents before children.
        trial: the sampler's trial; what it has answered before it answers again.
        prefix: put before every name.
        wanted: where two declarations of one name are active, the ones that count; without it the first one does. A
            build that declares `Int("units", 8, 8 * layers)` has several of them.

    Returns:
        Values by the names that the build uses.
    """
    values: dict[str, Value] = {}
    names = parameter_names(declarations)
    for declaration, name in zip(declarations, names, strict=True):
        replaces = wanted is not None and declaration in wanted
        if is_active(declaration, values) and (replaces or declaration["name"] not in values):
            values[declaration["name"]] = _ask(declaration, trial, prefix + name)
    return values


def is_active(declaration: Declaration, values: Mapping[str, Value]) -> bool:
    """Whether every parent has one of the values that the declaration is made under."""
    return all(values.get(parent["name"]) in parent["values"] for parent in declaration["conditions"])


def parameter_names(declarations: Sequence[Declaration]) -> list[str]:
    """What the declarations are called in the study: a sampler keeps one range for one name.

    A conditional one carries its condition; what is declared once more, with another range, carries a number.
    """
    names: list[str] = []
    for declaration in declarations:
        conditions = [f"{item['name']}={'|'.join(map(str, item['values']))}" for item in declaration["conditions"]]
        name = " if ".join([declaration["name"], *([" and ".join(conditions)] if conditions else [])])
        taken = sum(other == name or other.startswith(f"{name} #") for other in names)
        names.append(f"{name} #{taken + 1}" if taken else name)
    return names


def default_parameters(declarations: Sequence[Declaration], prefix: str = "") -> dict[str, Any]:
    """The defaults as values of the study's parameters; one that is off the steps of its range becomes the nearest."""
    names = parameter_names(declarations)
    return {
        prefix + name: _default(declaration)
        for declaration, name in zip(declarations, names, strict=True)
        if declaration["kind"] != "Fixed"
    }


def _ask(declaration: Declaration, trial: Suggester, name: str) -> Value:
    kind = declaration["kind"]
    if kind == "Fixed":
        value: Value = declaration["value"]
        return value
    if kind == "Boolean":
        return bool(trial.suggest_categorical(name, [False, True]))
    if kind == "Choice":
        options = declaration["values"]
        if declaration["ordered"]:
            value = options[trial.suggest_int(name, 0, len(options) - 1)]
        else:
            value = trial.suggest_categorical(name, list(dict.fromkeys(options)))
        return value
    low, high, sampling = declaration["min"], declaration["max"], declaration["sampling"]
    whole = kind == "Int"
    if sampling == "linear" and whole:
        last = value_at(declaration, count(declaration) - 1)
        return trial.suggest_int(name, low, int(last), step=declaration["step"])
    if declaration["step"] is not None:
        number = value_at(declaration, trial.suggest_int(name, 0, count(declaration) - 1))
    elif sampling == "reverse_log":
        number = _reversed(low, high + 1 if whole else high, trial.suggest_float(name, 0.0, 1.0))
    elif whole:
        number = trial.suggest_int(name, low, high, log=True)
    else:
        number = trial.suggest_float(name, low, high, log=sampling == "log")
    number = min(max(number, low), high)
    return int(number) if whole else float(number)  # Optuna may give a float of numpy


def count(declaration: Declaration) -> int:
    """How many values a range with steps has."""
    low, high, step = declaration["min"], declaration["max"], declaration["step"]
    if declaration["sampling"] == "linear":
        return int((high - low) // step + 1)
    return int(math.log(high / low, step) + 1e-8) + 1


def value_at(declaration: Declaration, index: int) -> float:
    """The value at a position of a range with steps: logarithmic steps multiply, reversed ones start at the top."""
    low, high, step = declaration["min"], declaration["max"], declaration["step"]
    number: float
    if declaration["sampling"] == "linear":
        number = low + index * step
    elif declaration["sampling"] == "log":
        number = low * math.pow(step, index)
    else:
        number = high + low - low * math.pow(step, index)
    return number


def _reversed(low: float, high: float, share: float) -> float:
    """The value at a share of the way through a range that is dense at its top."""
    return high + low - low * math.pow(high / low, 1.0 - share)


def _default(declaration: Declaration) -> Any:
    default = declaration["default"]
    kind = declaration["kind"]
    if kind == "Boolean" or (kind == "Choice" and not declaration["ordered"]):
        return default
    if kind == "Choice":
        return declaration["values"].index(default)
    low, high, sampling = declaration["min"], declaration["max"], declaration["sampling"]
    default = min(max(default, low), high)
    if declaration["step"] is not None:
        positions = range(count(declaration))
        nearest = min(positions, key=lambda index: abs(value_at(declaration, index) - default))
        return int(value_at(declaration, nearest)) if kind == "Int" and sampling == "linear" else nearest
    if sampling == "reverse_log":
        top = high + 1 if kind == "Int" else high
        value = default + 0.5 if kind == "Int" else default  # the middle of what becomes this whole number
        share = 1.0 if top == low else 1.0 - math.log((top + low - value) / low) / math.log(top / low)
        return min(max(share, 0.0), 1.0)
    return default
