"""From a stage to one configuration: parents first, inactive parameters left out. Optuna only comes as an argument."""

import graphlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from autotl.errors import UsageError
from autotl.space.options import NO_HEADS, Heads, with_options
from autotl.space.parameters import INSTALLED, Choice, Integer, LogRange, Parameter, Range, Value
from autotl.space.schema import SearchSpace, Stage


class Suggester(Protocol):
    """What is used of an `optuna.Trial`."""

    def suggest_categorical(self, name: str, choices: Sequence[Any], /) -> Any: ...
    def suggest_float(self, name: str, low: float, high: float, /, *, log: bool = False) -> float: ...
    def suggest_int(self, name: str, low: int, high: int, /, *, log: bool = False) -> int: ...


class Distribution(NamedTuple):
    """A parameter as people read it."""

    name: str
    values: str
    when: str


def suggest(stage: Stage, trial: Suggester, backbones: Sequence[str] = (), heads: Heads = NO_HEADS) -> dict[str, Value]:
    """Ask a sampler for a value of every parameter that is active.

    Optuna allows a categorical parameter only one list of options in a study: `backbones` must not change in a run.

    Args:
        stage: what varies.
        trial: the sampler's trial; parameters go by their plain names.
        backbones: the names that compete, in the place of "installed".
        heads: the records of the heads that the stage chooses from: their options are asked for as `HEAD.option`.

    Returns:
        Raw values by name ("native" image sizes included), parents before children.

    Raises:
        PluginError: a head declares options that cannot be searched.
    """
    values: dict[str, Value] = {}
    parameters = with_options(stage, heads)
    for name in parents_first(parameters):
        parameter = parameters[name]
        if all(values.get(parent) in wanted for parent, wanted in parameter.when.items()):
            values[name] = _ask(trial, name, parameter, backbones)
    return values


def parents_first(parameters: Mapping[Any, Parameter]) -> list[str]:
    """The names of parameters, each after those that its condition looks at, whatever the order of the file."""
    order = graphlib.TopologicalSorter({name: list(item.when) for name, item in parameters.items()}).static_order()
    return list(order)


def distributions(stage: Stage, heads: Heads = NO_HEADS) -> list[Distribution]:
    """The parameters of a stage in the order in which they are asked for."""
    parameters = with_options(stage, heads)
    return [
        Distribution(name, str(parameters[name]), _condition(parameters[name])) for name in parents_first(parameters)
    ]


def narrow(space: SearchSpace, backbones: Sequence[str]) -> SearchSpace:
    """The same space over the given backbones only; without any, the space as it is.

    Raises:
        UsageError: a backbone is named twice.
    """
    if not backbones:
        return space
    if len(set(backbones)) < len(backbones):
        raise UsageError(f"A backbone is named once, not twice: {', '.join(backbones)}. Leave one out.")
    stages = [_narrow_stage(stage, tuple(backbones), is_first=index == 0) for index, stage in enumerate(space.stages)]
    return space.model_copy(update={"stages": tuple(stages)})


def without(space: SearchSpace, name: str) -> SearchSpace:
    """The same space in which a parameter keeps its default. What depends on it must not be in the space."""
    stages = []
    for stage in space.stages:
        parameters = {key: item for key, item in stage.parameters.items() if key != name}
        first = tuple({key: value for key, value in values.items() if key != name} for values in stage.first)
        stages.append(stage.model_copy(update={"parameters": parameters, "first": first}))
    return space.model_copy(update={"stages": tuple(stages)})


def _ask(trial: Suggester, name: str, parameter: Parameter, backbones: Sequence[str]) -> Value:
    match parameter:
        case Choice():
            options = _competing(parameter, backbones) if name == "backbone" else parameter.choice
            return trial.suggest_categorical(name, options)  # type: ignore[no-any-return]
        case Integer():
            return trial.suggest_int(name, *parameter.integer, log=parameter.log)
        case Range():
            return float(trial.suggest_float(name, *parameter.range))  # it may be one of numpy
        case LogRange():
            return float(trial.suggest_float(name, *parameter.log, log=True))


def _competing(parameter: Choice, backbones: Sequence[str]) -> tuple[Value, ...]:
    """The backbones of a stage: of those that the caller resolved, the ones that the file allows."""
    if not backbones:
        return parameter.choice
    if INSTALLED in parameter.choice:
        return tuple(backbones)
    named = tuple(name for name in backbones if name in parameter.choice)
    return named if named else tuple(backbones)


def _condition(parameter: Parameter) -> str:
    parts = (f"{parent} is {' or '.join(str(value) for value in wanted)}" for parent, wanted in parameter.when.items())
    return " and ".join(parts)


def _narrow_stage(stage: Stage, backbones: tuple[str, ...], is_first: bool) -> Stage:
    """Later stages that vary no backbone take it from the stage before, so only the first must get one."""
    if "backbone" not in stage.parameters and not is_first:
        return stage
    written = stage.parameters.get("backbone")
    when = {} if written is None else written.when
    parameters = {**stage.parameters, "backbone": Choice(choice=backbones, when=when)}
    first = tuple(values for values in stage.first if values.get("backbone", backbones[0]) in backbones)
    return stage.model_copy(update={"parameters": parameters, "first": first})
