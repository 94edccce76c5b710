"""The heads that a space chooses from: their records, loaded and checked before anything starts."""

from collections.abc import Mapping
from typing import Any

from autotl.entry_points import did_you_mean
from autotl.errors import UsageError
from autotl.heads.contract import Head
from autotl.heads.hypermodel import HyperHead
from autotl.heads.registry import load_head
from autotl.space.options import head_choices, owner_of, read_options, unknown_options
from autotl.space.schema import SearchSpace, Stage


def resolve_heads(space: SearchSpace) -> dict[str, Head]:
    """Load the record of every head that a stage chooses from, and check what the space says of its options.

    Raises:
        UsageError: a head is not installed, or the space names options or values that its head does not know.
        PluginError: a head cannot be loaded, or declares options that cannot be searched.
    """
    names = dict.fromkeys(name for stage in space.stages for name in head_choices(stage.parameters))
    heads = {name: load_head(name) for name in names}
    for head in heads.values():
        read_options(head)
    faults = [fault for stage in space.stages for fault in _faults(stage, heads)]
    if faults:
        raise UsageError("\n".join(["The search space asks for what its heads do not know:", *faults]))
    return heads


def _faults(stage: Stage, heads: Mapping[str, Head]) -> list[str]:
    chosen = head_choices(stage.parameters)
    faults = []
    firsts: list[Mapping[str, Any]] = list(stage.first)
    for name in chosen:
        if isinstance(heads[name].build, HyperHead):
            continue  # a hypermodel says which options it has while a worker builds it
        declared = {f"{name}.{option}": parameter for option, parameter in read_options(heads[name]).items()}
        mentioned = dict.fromkeys([*stage.parameters, *(key for values in firsts for key in values)])
        written = [key for key in mentioned if owner_of(key, chosen) == name]
        for key in unknown_options(written, heads[name]):
            known = ", ".join(declared) if declared else "none"
            faults.append(
                f"  {stage.name}: {key} is no option of {name}.{did_you_mean(key, list(declared))} Known: {known}"
            )
        for values in firsts:
            for key in values:
                if key in declared and key not in stage.parameters and values[key] not in declared[key]:
                    faults.append(f"  {stage.name}: {values[key]!r} is not in the range of {key}: {declared[key]}")
    return faults
