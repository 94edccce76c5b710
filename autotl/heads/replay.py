"""Building a KerasTuner hypermodel with given values, and writing down what it asked for beyond them.

A hypermodel shows its hyperparameters only while it builds. So the values are found by rounds: a worker builds with the
values that the driver gave and with defaults for the rest; if there was a rest, it goes back to the driver, which asks
the same trial for it (`autotl.space.tuner`) and sends the job again. Every call of a `keras_tuner.HyperParameters` ends
in `_register`, the only place where a value is invented; that is what is replaced here.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from autotl.errors import AutotlError

Value = str | int | float | bool


class UnsettledError(AutotlError):
    """The given values are not those that a build asks for: no fault, but the answer to a question.

    Attributes:
        owner: name of the head or backbone that was built.
        needs: declarations, as JSON, of what was asked for and not given; empty when too much was given.
        values: what a build with these values takes: given ones, and defaults for those that were not.
    """

    kind = "unsettled"

    def __init__(self, owner: str, needs: list[dict[str, Any]], values: dict[str, Value]) -> None:
        super().__init__(f"{owner} asks for other values than were given: {', '.join(item['name'] for item in needs)}")
        self.owner, self.needs, self.values = owner, needs, values


class Replay(Protocol):
    """A `keras_tuner.HyperParameters` that takes given values."""

    values: dict[str, Value]
    """Of all active hyperparameters so far, fixed ones included."""
    needs: list[dict[str, Any]]
    """Declarations of those that were not given: they have their defaults."""

    def chosen(self) -> dict[str, Value]:
        """The values of all active hyperparameters that are not fixed: what a replay needs."""


def make_replay(given: Mapping[str, Value]) -> Replay:
    """A `keras_tuner.HyperParameters` that answers with given values, and with defaults where there is none.

    A given value that a declaration does not allow counts as none: a range may depend on other values.
    """
    import keras_tuner

    class GivenHyperParameters(keras_tuner.HyperParameters):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.needs: list[dict[str, Any]] = []

        def _register(self, hyperparameter: Any, overwrite: bool = False) -> Any:
            self._validate_name(hyperparameter.name)
            copied = hyperparameter.__class__.from_config(hyperparameter.get_config())
            self._hps[copied.name].append(copied)
            self._space.append(copied)
            if not self.is_active(copied):
                return None
            if overwrite or copied.name not in self.values:
                self.values[copied.name] = self._value_of(copied)
            return self.values[copied.name]

        def _value_of(self, hyperparameter: Any) -> Any:
            described = declaration(hyperparameter)
            if described["kind"] == "Fixed":
                return described["value"]
            if hyperparameter.name in given and is_allowed(described, given[hyperparameter.name]):
                return given[hyperparameter.name]
            self.needs.append(described)
            return hyperparameter.default

        def copy(self) -> Any:  # of a hypermodel that is not tunable: new entries get their defaults and stay unknown
            return keras_tuner.HyperParameters.from_config(self.get_config())

        def chosen(self) -> dict[str, Value]:
            fixed = {item.name for item in self.space if type(item).__name__ == "Fixed" and self.is_active(item)}
            return {name: value for name, value in self.values.items() if name not in fixed}

    replay: Replay = GivenHyperParameters()
    return replay


def declaration(hyperparameter: Any) -> dict[str, Any]:
    """A `keras_tuner` hyperparameter as JSON, in the form that `autotl.space.tuner` reads."""
    kind = type(hyperparameter).__name__
    described: dict[str, Any] = {
        "kind": kind,
        "name": hyperparameter.name,
        "conditions": [{"name": item.name, "values": list(item.values)} for item in hyperparameter.conditions],
        "default": hyperparameter.default,
    }
    if kind == "Fixed":
        described["value"] = hyperparameter.value
    elif kind == "Choice":
        described |= {"values": list(hyperparameter.values), "ordered": hyperparameter.ordered}
    elif kind in ("Int", "Float"):
        described |= {"min": hyperparameter.min_value, "max": hyperparameter.max_value}
        described |= {"step": hyperparameter.step, "sampling": hyperparameter.sampling}
    return described


def is_allowed(described: Mapping[str, Any], value: Value) -> bool:
    """Whether a value can be meant for a declaration: another one of the same name may have other values."""
    match described["kind"]:
        case "Boolean":
            return isinstance(value, bool)
        case "Choice":
            return value in described["values"]
        case "Int":
            return isinstance(value, int) and described["min"] <= value <= described["max"]
        case "Float":
            return isinstance(value, int | float) and described["min"] <= value <= described["max"]
    return True
