"""How long a search will take, stage by stage, before its first trial."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from autotl.errors import PluginError
from autotl.search.context import Context
from autotl.search.ensemble import alike_of_others, enough_folds, is_tuned
from autotl.search.forecast import PRUNED_SHARE, Drawer, Forecast, stage_seconds
from autotl.search.gate import asks_for_good_odds
from autotl.search.plan import allowed_backbones, concrete_config, portfolio
from autotl.space.options import with_defaults
from autotl.space.schema import Stage
from autotl.space.suggest import suggest

FINALISTS = 3


def expected_seconds(context: Context, trials: Mapping[str, int]) -> dict[str, float]:
    """Seconds of each stage, of "confirm" and of "finish", on the slots that there are.

    Each stage is played through with random draws in the place of the sampler's: what costs time is how many passes,
    epochs and folds there are, and that the sampler changes little. A stage that asks for good odds is expected to end
    with its first configurations. Nothing is expected of backbones that could not be timed.
    """
    forecast = replace(context.forecast, paid=set(context.forecast.paid))
    slots = max(1, len(context.dispatcher.executor.slots()))
    expected: dict[str, float] = {}
    inherited: dict[str, dict[str, Any]] = {}
    last: list[dict[str, Any]] = []
    for stage in context.space.stages:
        stays_shut = asks_for_good_odds(stage) and bool(last)
        number = min(trials[stage.name], max(1, len(stage.first))) if stays_shut else trials[stage.name]
        configs = _draw(context, stage, number, inherited)
        evaluation, share = context.evaluation(stage), PRUNED_SHARE if stage.prune else 1.0
        images = context.passed_images(stage)
        expected[stage.name] = stage_seconds(forecast, stage, evaluation, configs, share, images) / slots
        if configs and not stays_shut:
            inherited = {config["backbone"]: config for config in reversed(configs)}
            last = configs
    members = _members(context, last)
    if members:
        expected["confirm"] = _ensemble_seconds(context, forecast, members) / slots
        expected["finish"] = sum(forecast.finish_seconds(config) for config in members)
    else:
        expected["confirm"] = _confirm_seconds(context, forecast, last) / slots
        expected["finish"] = max((forecast.finish_seconds(config) for config in last), default=0.0)
    return {name: round(seconds, 1) for name, seconds in expected.items()}


def _draw(
    context: Context, stage: Stage, trials: int, inherited: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Configurations such as a stage may try: its portfolio first, then random ones."""
    names = context.cheapest_first(allowed_backbones(stage, context.backbones))[: stage.keep_backbones]
    drawer = Drawer(context.request.seed)
    given = [with_defaults(values, stage, context.heads) for values in portfolio(stage, names)]
    configs: list[dict[str, Any]] = []
    for number in range(trials):
        try:
            drawn = suggest(stage, drawer, names, context.heads)
        except PluginError:  # the stage itself will say what is wrong
            return configs
        values = {**drawn, **(given[number] if number < len(given) else {})}
        own = inherited.get(str(values.get("backbone", names[0])), {})
        configs.append(concrete_config(stage, values, context.backbones, own))
    return configs


def _confirm_seconds(context: Context, forecast: Forecast, configs: list[dict[str, Any]]) -> float:
    stage = context.space.stages[-1]
    evaluation = context.evaluation(stage)
    finalists = configs[:FINALISTS]
    return sum(forecast.trial_seconds(config, evaluation, stage.folds, stage.repeats) for config in finalists)


def _members(context: Context, configs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of an ensemble of fine-tunes, where one is asked for."""
    if not (context.request.ensemble and configs and is_tuned(context, configs[0])):
        return []
    return [configs[0], *alike_of_others(context, context.cheapest_first(context.backbones), configs[0])]


def _ensemble_seconds(context: Context, forecast: Forecast, members: list[dict[str, Any]]) -> float:
    stage = context.space.stages[-1]
    evaluation = context.evaluation(stage)
    share = enough_folds(stage.folds, forecast.images) / stage.folds if evaluation == "cross_validation" else 1.0
    return share * sum(forecast.trial_seconds(config, evaluation, stage.folds) for config in members)
