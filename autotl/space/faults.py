"""Everything that is wrong with a search-space file, at once, each fault with its place and a way out."""

import difflib
import graphlib
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from autotl.space.options import PLAIN, head_choices, owner_of
from autotl.space.parameters import DOMAINS, KINDS, NAMES, Choice, Parameter, ends
from autotl.space.schema import SearchSpace, Stage

_PARAMETER: TypeAdapter[Parameter] = TypeAdapter(Parameter)


class Fault(NamedTuple):
    """One thing to mend: a key path such as `stage[probe].parameters.dropout`, and what is wrong there."""

    path: str
    message: str


def find_faults(raw: Mapping[str, Any]) -> list[Fault]:
    """All faults of a parsed file, those of form before those of meaning; none when it is a search space."""
    return [*_faults_of_form(raw), *_faults_of_meaning(raw)]


def did_you_mean(given: object, known: Iterable[str]) -> str:
    """ " Did you mean X?" when something known is spelled like what was given, else nothing."""
    close = difflib.get_close_matches(str(given), list(known), n=1)
    return f" Did you mean {close[0]}?" if close else ""


def _with_hint(message: str, given: object, known: Iterable[str]) -> str:
    hint = did_you_mean(given, known)
    return f"{message}.{hint}" if hint else message


def _faults_of_form(raw: Mapping[str, Any]) -> Iterator[Fault]:
    try:
        SearchSpace.model_validate(raw)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            yield Fault(_path(raw, detail["loc"]), _message(detail))


def _path(raw: Mapping[str, Any], location: Sequence[int | str]) -> str:
    """The key path of a place: stages by name, without the tags that pydantic adds for a kind of parameter."""
    parts = [part for index, part in enumerate(location) if part != "[key]" and not _is_tag(location, index)]
    if len(parts) > 1 and parts[0] == "stage" and isinstance(parts[1], int):
        return ".".join([_stage_path(raw["stage"], parts[1]), *(str(part) for part in parts[2:])])
    return ".".join(str(part) for part in parts)


def _is_tag(location: Sequence[int | str], index: int) -> bool:
    return index == 4 and location[2] == "parameters" and location[4] in KINDS


def _stage_path(stages: Sequence[Any], index: int) -> str:
    stage = stages[index]
    name = stage.get("name") if isinstance(stage, Mapping) else None
    return f"stage[{name if isinstance(name, str) else index}]"


def _message(detail: ErrorDetails) -> str:
    given, location = detail["input"], detail["loc"]
    if location[-1] == "[key]":
        return f"there is no such parameter.{did_you_mean(given, NAMES)} Known: {', '.join(NAMES)}"
    match detail["type"]:
        case "extra_forbidden":
            known = _known_keys(location)
            return f"there is no such key.{did_you_mean(location[-1], known)} Known: {', '.join(known)}"
        case "missing":
            return "this key is required"
        case "literal_error":
            options = detail["ctx"]["expected"]
            return f"must be {options}, not {given!r}.{did_you_mean(given, options.replace(' or ', ', ').split(', '))}"
        case "value_error":
            return str(detail["ctx"]["error"])
        case "kind":
            written = " ".join(given) if isinstance(given, Mapping) else ""
            return _with_hint(f"{detail['msg']}, not {given!r}", written, KINDS)
    return f"{detail['msg'][:1].lower()}{detail['msg'][1:]}, not {reprlib.repr(given)}"


def _known_keys(location: Sequence[int | str]) -> list[str]:
    match len(location):
        case 1:
            return ["description", "stage"]
        case 3:
            return list(Stage.model_fields)
    return list(KINDS[str(location[4])].model_fields)


def _faults_of_meaning(raw: Mapping[str, Any]) -> Iterator[Fault]:
    """What the form cannot see. Parts with faults of form are passed over, so nothing is reported twice."""
    stages = raw.get("stage")
    if not isinstance(stages, list):
        return
    seen: set[object] = set()
    for index, stage in enumerate(stages):
        if not isinstance(stage, Mapping):
            continue
        path = _stage_path(stages, index)
        if isinstance(name := stage.get("name"), str):
            if name in seen:
                yield Fault(f"{path}.name", "two stages have this name; a name is used once")
            seen.add(name)
        if index == 0 and "keep_backbones" in stage:
            yield Fault(f"{path}.keep_backbones", "the first stage has none before it whose backbones it could keep")
        yield from _faults_of_stage(path, stage)


def _faults_of_stage(path: str, stage: Mapping[str, Any]) -> Iterator[Fault]:
    written = stage.get("parameters", {})
    if not isinstance(written, Mapping):
        return
    parameters = {name: parsed for name, given in written.items() if (parsed := _parse(given)) is not None}
    if stage.get("recipe") == "any" and "recipe" not in written:
        yield Fault(f"{path}.parameters", 'recipe = "any" needs a parameter recipe = { choice = [...] }')
    if stage.get("recipe") in ("probe", "finetune", "scratch") and "recipe" in written:
        yield Fault(f"{path}.parameters.recipe", 'the stage fixes the recipe; write recipe = "any" to search it')
    for name, parameter in parameters.items():
        here = f"{path}.parameters.{name}"
        if name in DOMAINS:
            for value in ends(parameter):
                if value not in DOMAINS[name]:
                    message = f"{name} is {DOMAINS[name]}, not {value!r}"
                    yield Fault(here, _with_hint(message, value, DOMAINS[name].words))
    yield from _faults_of_heads(f"{path}.parameters", written, parameters)
    yield from _faults_of_taps(f"{path}.parameters.taps", parameters)
    for name, given in written.items():
        if isinstance(given, Mapping) and isinstance(when := given.get("when"), Mapping):
            others = {other: parameters.get(other) for other in written if other != name}
            yield from _faults_of_conditions(f"{path}.parameters.{name}.when", when, others)
    yield from _cycles(path, parameters)
    first = stage.get("first", [])
    for number, values in enumerate(first if isinstance(first, list) else []):
        if isinstance(values, Mapping):
            yield from _faults_of_first(f"{path}.first[{number}]", values, parameters, list(written))


def _parse(given: object) -> Parameter | None:
    try:
        return _PARAMETER.validate_python(given)
    except ValidationError:
        return None


def _faults_of_heads(path: str, written: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> Iterator[Fault]:
    """Options belong to a head that the stage chooses from."""
    chosen = head_choices(parameters)
    for name in written:
        if "." not in name or ("head" in written and "head" not in parameters):
            continue
        owner = owner_of(name, chosen)
        if owner is None:
            yield Fault(
                f"{path}.{name}", _with_hint("is an option of no head of this stage", name.split(".")[0], chosen)
            )
        elif (option := name.removeprefix(f"{owner}.")) in PLAIN.get(owner, ()):
            yield Fault(f"{path}.{name}", f"this option of the {owner} is written without its head: {option}")


def _faults_of_taps(path: str, parameters: Mapping[str, Parameter]) -> Iterator[Fault]:
    pooling, taps = parameters.get("pooling"), parameters.get("taps")
    if not isinstance(pooling, Choice) or not isinstance(taps, Choice) or "attention" not in pooling:
        return
    together = "attention" in taps.when.get("pooling", ("attention",))
    if together and set(taps.choice) != {"last"}:
        others = [value for value in pooling.choice if value != "attention"]
        yield Fault(path, f"attention pools the last feature map alone; add when = {{ pooling = {others} }}")


def _faults_of_conditions(
    path: str, when: Mapping[str, Any], others: Mapping[str, Parameter | None]
) -> Iterator[Fault]:
    for name, wanted in when.items():
        parent = others.get(name)
        if name not in others:
            yield Fault(f"{path}.{name}", _with_hint("is no other parameter of this stage", name, others))
        elif isinstance(parent, Choice):
            for value in wanted if isinstance(wanted, list) else [wanted]:
                if value not in parent:
                    yield Fault(f"{path}.{name}", f"{name} is never {value!r}; it is {parent}")
        elif parent is not None:
            yield Fault(f"{path}.{name}", "a condition names a parameter that is written as { choice = [...] }")


def _cycles(path: str, parameters: Mapping[str, Parameter]) -> Iterator[Fault]:
    graph = {name: [parent for parent in item.when if parent != name] for name, item in parameters.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        circle = " on ".join(reversed(error.args[1]))
        yield Fault(f"{path}.parameters", f"conditions must not go in a circle: {circle}")


def _faults_of_first(
    path: str, values: Mapping[str, Any], parameters: Mapping[str, Parameter], declared: Sequence[str]
) -> Iterator[Fault]:
    for name, value in values.items():
        here = f"{path}.{name}"
        if name not in declared and owner_of(name, head_choices(parameters)) is not None:
            continue  # of an option that the head declares: checked with the head
        if name not in declared:
            yield Fault(here, _with_hint("is no parameter of this stage", name, declared))
            continue
        parameter = parameters.get(name)
        if parameter is None or isinstance(value, list | dict):
            continue
        if value not in parameter:
            yield Fault(here, f"{value!r} is not in the range of {name}: {parameter}")
        for parent, wanted in parameter.when.items():
            if parent in values and values[parent] not in wanted:
                yield Fault(here, f"{name} is not used when {parent} is {values[parent]!r}")
