"""Calling a user's hypermodel, whatever its signature: what it needs is given by the names of its parameters.

A hypermodel is a `keras_tuner.HyperModel` (a class, whose constructor may want to know the problem, or an instance) or
a function `build(hp, ...)`. Nothing else is asked of it: any hypermodel written for KerasTuner runs unchanged.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from autotl.errors import UsageError
from autotl.references import load_object


class Builder(NamedTuple):
    """An opened hypermodel."""

    build: Callable[[Any], Any]
    """`build(hp)` gives what the user's code gives: a model, or a tensor."""
    fit: Callable[..., Any] | None
    """The user's own `fit(hp, model, ...)`, where there is one."""


def open_builder(reference: str, offered: Mapping[str, Any]) -> Builder:
    """Import a hypermodel, give its constructor what it wants to know, and return it ready to build.

    Args:
        reference: `module:object`.
        offered: what constructor and `build` may ask for, by name (`input_shape`, `classes`, ...).

    Raises:
        UsageError: there is no such object, it is no hypermodel, or it needs something that is not offered.
    """
    found = load_object(reference)
    if isinstance(found, type):
        found = found(**_pick(found, reference, offered))
    if not hasattr(found, "build"):
        if not callable(found):
            raise UsageError(
                f"A hypermodel is a keras_tuner.HyperModel or a function build(hp), {reference} is a "
                f"{type(found).__name__}. Name a class, an instance or a function."
            )
        arguments = _pick(found, reference, offered, skip=1)
        return Builder(lambda hp: found(hp, **arguments), None)
    arguments = _pick(_written_build(found), f"the build of {reference}", offered, skip=1)
    return Builder(lambda hp: found.build(hp, **arguments), _written_fit(found))


def _written_build(hypermodel: Any) -> Callable[..., Any]:
    """The user's `build`: the constructor of `keras_tuner.HyperModel` covers it with a wrapper."""
    covered = getattr(hypermodel.build, "__name__", "") == "_build_wrapper"
    written: Callable[..., Any] = hypermodel._build if covered else hypermodel.build
    return written


def _written_fit(hypermodel: Any) -> Callable[..., Any] | None:
    import keras_tuner

    fit: Callable[..., Any] | None = getattr(hypermodel, "fit", None)
    return None if getattr(fit, "__func__", fit) is keras_tuner.HyperModel.fit else fit


def _pick(function: Callable[..., Any], what: str, offered: Mapping[str, Any], skip: int = 0) -> dict[str, Any]:
    """Those of the offered values that a function has parameters for; the first `skip` parameters are passed over."""
    parameters = list(inspect.signature(function).parameters.values())[skip:]
    named = [item for item in parameters if item.kind not in (item.VAR_POSITIONAL, item.VAR_KEYWORD)]
    missing = [item.name for item in named if item.name not in offered and item.default is item.empty]
    if missing:
        raise UsageError(
            f"autotl gives a hypermodel what it names: {', '.join(offered)}; {what} wants {', '.join(missing)}. "
            "Give that a default, or name an instance or a function that knows it."
        )
    return {item.name: offered[item.name] for item in named if item.name in offered}
