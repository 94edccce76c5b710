"""What each network costs to use, measured before the first trial where a model budget was asked for.

The smallest image size of each backbone is measured first, and the next one only where that holds, since a larger one
takes longer. What is over the budget is measured twice: one disturbance must not throw a network out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from autotl.backbones.contract import Backbone
from autotl.backbones.hypermodel import WholeModel
from autotl.errors import NoTrialError
from autotl.execution.protocol import Job
from autotl.search.context import Context, Plugins
from autotl.search.frozen import plugins_of
from autotl.search.model_budget import EVENT, Measured, ModelBudget, describe, recall
from autotl.search.plan import NATIVE, allowed_backbones, concrete_size, stage_choices

MEASURE_TARGET = "autotl.deliver.measure:run_job"


def keep_to_budget(context: Context) -> None:
    """Measure what the space may ask for, and leave out the backbones that cannot hold at any image size.

    Networks that nobody can build here stay: their first trial will say what is wrong with them. So do hypermodels,
    whose size is a matter of their hyperparameters: only the delivered model can be held to the budget.

    Raises:
        NoTrialError: no backbone is left; names what each was measured to cost.
    """
    request = context.request
    context.model_budget = budget = ModelBudget(request.latency_milliseconds, request.max_bytes)
    if not budget.is_set:
        return
    recall(budget, context.past.events)
    known = len(budget.measured)
    sizes = {name: image_sizes(context, name) for name in context.backbones if _can_be_measured(context, name)}
    context.tell("phase", phase="check", detail=f"measuring {len(sizes)} networks against {budget.describe()}")
    waiting = {name: list(each) for name, each in sizes.items()}
    while waiting:
        measure(context, [(name, each[0]) for name, each in waiting.items()])
        waiting = {
            name: each[1:]
            for name, each in waiting.items()
            if len(each) > 1 and not budget.excess({"backbone": name, "image_size": each[0]})
        }
    over = [name for name, each in sizes.items() if budget.excess({"backbone": name, "image_size": each[0]})]
    found = [describe(budget.measured[(name, sizes[name][0])], context.backbones[name].label) for name in over]
    if len(over) == len(context.backbones):
        raise NoTrialError(
            f"No network holds {budget.describe()}{_deployed(context)} here: {'; '.join(found)}. Allow more, or give "
            "a smaller --backbone or a space with smaller image sizes."
        )
    for text in found if known < len(budget.measured) else ():
        context.tell("note", message=f"left out, over the budget of {budget.describe()}: {text}")
    left = {name: record for name, record in context.backbones.items() if name not in over}
    context.plugins = Plugins(left, context.heads)


def measure(context: Context, networks: Sequence[tuple[str, int]]) -> None:
    """Measure networks that are not known yet, one after the other: what runs beside would disturb them."""
    budget = context.model_budget
    fresh = [each for each in networks if each not in budget.measured]
    found = {each: _measure(context, *each) for each in fresh}
    for each, first in found.items():
        if first is not None and "latency" in budget.excess_of(first.p50_milliseconds, 0):
            again = _measure(context, *each)
            if again is not None and again.problem is None:
                found[each] = min(first, again, key=lambda one: one.p50_milliseconds)
    for known in found.values():
        if known is not None:
            budget.note(known)
            context.log(EVENT, **known.to_json())


def image_sizes(context: Context, name: str) -> list[int]:
    """The image sizes at which a search may ask for a backbone, ascending."""
    record, stages = context.backbones[name], context.space.stages
    choices = [
        choice
        for stage in stages
        if name in allowed_backbones(stage, context.backbones)
        for choice in stage_choices(stage, "image_size")
    ]
    if not stage_choices(stages[0], "image_size"):
        choices.append(NATIVE)
    return sorted({concrete_size(choice, record) for choice in choices})


def measure_job(context: Context, name: str, **fields: Any) -> Job:
    """A job that measures a model, in a folder of its own for files on the way.

    Args:
        name: of the job.
        fields: of the payload, see `autotl.deliver.measure.run_job`.
    """
    folder = context.run.path / "check"
    payload = {
        "deploy": context.request.deploy,
        "manifest": str(context.run.manifest_path),
        "cache": {"root": str(context.cache.root), "max_bytes": context.cache.max_bytes},
        "folder": str(folder),
        "log_path": str(folder / "measure-log.txt"),
        **fields,
    }
    return Job(name, 1, MEASURE_TARGET, payload)


def _can_be_measured(context: Context, name: str) -> bool:
    return not isinstance(context.backbones[name].build, WholeModel)


def _measure(context: Context, name: str, size: int) -> Measured | None:
    record, deploy = context.backbones[name], context.request.deploy
    nothing = Measured(name, size, deploy)
    if (reason := _refused(record, deploy)) is not None:
        return replace(nothing, problem=reason)
    asked = stage_choices(context.space.stages[0], "weights")  # whoever wants random ones need not have others
    weights = "pretrained" if record.weights.is_pretrained and asked != ["random"] else "random"
    config = {"backbone": name, "image_size": size, "weights": weights}
    classes = len(context.manifest.classes)
    plugins = plugins_of(record, None)
    job = measure_job(context, f"measure-{name}-{size}", config=config, classes=classes, plugins=plugins)
    (outcome,) = context.dispatcher.run_all([job])
    result = outcome.result
    if result is None:
        message = getattr(outcome.failure, "message", "it cannot be measured")
        context.log("measuring_failed", backbone=name, image_size=size, message=message)
        return None if deploy is None else replace(nothing, problem=message)
    context.costs.add_job(result["ledger"], outcome.seconds, "check")
    figures: Mapping[str, Any] = {each: result[each] for each in ("p50_milliseconds", "p95_milliseconds", "bytes")}
    channels = tuple(result["channels"])
    return replace(nothing, **figures, parameters=result["parameters"], channels=channels, classes=classes)


def _refused(record: Backbone, deploy: str | None) -> str | None:
    """Why a network is declared not to be exportable."""
    if deploy is None:
        return None
    return record.not_exported.get(deploy, record.not_exported.get(deploy.partition(":")[0]))


def _deployed(context: Context) -> str:
    return "" if context.request.deploy is None else f" as {context.request.deploy}"
