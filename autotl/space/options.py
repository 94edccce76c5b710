"""Options of heads: parameters called `HEAD.option`, declared by the head itself, and by a space that knows better."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

from pydantic import TypeAdapter, ValidationError

from autotl.errors import PluginError
from autotl.space.parameters import Choice, Parameter
from autotl.space.schema import Stage

_PARAMETER: TypeAdapter[Parameter] = TypeAdapter(Parameter)
PLAIN = {"mlp": ("width", "depth", "dropout")}
"""Options that are parameters under their own names. Spaces wrote them so before heads were plugins."""


class Declares(Protocol):
    """What is used of an `autotl.heads.contract.Head`."""

    @property
    def name(self) -> str: ...
    @property
    def options(self) -> Mapping[str, Mapping[str, Any]]: ...
    @property
    def defaults(self) -> Mapping[str, Any]: ...


Heads = Mapping[str, Declares]
NO_HEADS: Heads = MappingProxyType({})


def head_choices(parameters: Mapping[str, Parameter | None]) -> list[str]:
    """The heads that a stage chooses from."""
    written = parameters.get("head")
    return [str(name) for name in written.choice] if isinstance(written, Choice) else []


def owner_of(parameter: str, heads: Iterable[str]) -> str | None:
    """The head whose option a parameter is; both parts of `HEAD.option` may hold dots, so only a known head tells."""
    owners = [head for head in heads if parameter.startswith(f"{head}.")]
    return max(owners, key=len, default=None)


def read_options(head: Declares) -> dict[str, Parameter]:
    """The options of a head as parameters, by their own names, without those that go by a plain one.

    Raises:
        PluginError: what the head declares cannot be searched; all faults are named, and whose they are.
    """
    options: dict[str, Parameter] = {}
    faults: list[str] = []
    for name, written in head.options.items():
        if name in PLAIN.get(head.name, ()):
            continue
        try:
            options[name] = _PARAMETER.validate_python(written)
        except ValidationError as error:
            faults += [f"{name}: {detail['msg'].removeprefix('Value error, ')}" for detail in error.errors()]
            continue
        if name not in head.defaults:
            faults.append(f"{name} has no default")
        elif head.defaults[name] not in options[name]:
            faults.append(f"the default {head.defaults[name]!r} of {name} is not in its range: {options[name]}")
    declared = {*head.options}
    faults += [f"{name} has a default and is no option" for name in head.defaults if name not in declared]
    for name, option in options.items():
        faults += [f"{name} depends on {other}, which is no option" for other in option.when if other not in declared]
    if faults:
        raise PluginError(
            f"The options of a head must be written as in a space file, each with a default in its range; those of the "
            f"head {head.name} are not: {'; '.join(faults)}. Tell its author, or search other heads."
        )
    return options


def with_options(stage: Stage, heads: Heads = NO_HEADS) -> dict[str, Parameter]:
    """The parameters of a stage with the options of the heads it chooses from, active where their head is chosen.

    What the stage itself writes as `HEAD.option` replaces what the head declares.
    """
    chosen = head_choices(stage.parameters)
    declared = {
        f"{name}.{option}": _below(parameter, name)
        for name in chosen
        if name in heads
        for option, parameter in read_options(heads[name]).items()
    }
    parameters = {**declared, **stage.parameters}
    return {name: _of_head(parameter, owner_of(name, chosen)) for name, parameter in parameters.items()}


def with_defaults(values: Mapping[str, Any], stage: Stage, heads: Heads) -> dict[str, Any]:
    """A first configuration, completed with the defaults of its head for the options that it leaves open."""
    chosen = head_choices(stage.parameters)
    name = values.get("head", chosen[0] if len(chosen) == 1 else None)
    if name not in heads:
        return dict(values)
    parameters = with_options(stage, heads)
    defaults = {f"{name}.{option}": heads[name].defaults[option] for option in read_options(heads[name])}
    kept = {option: value for option, value in defaults.items() if value in parameters[option]}
    return {**kept, **values}


def _below(parameter: Parameter, head: str) -> Parameter:
    """A declared option as a parameter of a stage: what it depends on are options of the same head."""
    return parameter.model_copy(update={"when": {f"{head}.{name}": values for name, values in parameter.when.items()}})


def _of_head(parameter: Parameter, head: str | None) -> Parameter:
    return parameter if head is None else parameter.model_copy(update={"when": {"head": (head,), **parameter.when}})


def unknown_options(written: Sequence[str], head: Declares) -> list[str]:
    """Those of some parameters `HEAD.option` that the head does not declare, or that go by a plain name."""
    known = {f"{head.name}.{name}" for name in head.options if name not in PLAIN.get(head.name, ())}
    return [name for name in written if name not in known]
