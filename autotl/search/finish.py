"""The end of a search: fit the chosen configuration to all but the test split, have it checked, tested and written."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autotl.backbones.contract import Backbone
from autotl.backbones.hypermodel import NO_WEIGHTS
from autotl.errors import AutotlError, DataError, ParityError
from autotl.execution.protocol import Failed, Job
from autotl.runs.directory import Run
from autotl.runs.files import read_json
from autotl.search.context import Context
from autotl.search.dispatch import Outcome
from autotl.search.finalists import Finalist
from autotl.search.frozen import plugins_of
from autotl.search.request import command_line

DELIVER_TARGET = "autotl.deliver.finish:run_job"
ERRORS: dict[str, type[AutotlError]] = {"parity": ParityError, "data": DataError}


def fit_final(context: Context, finalist: Finalist) -> dict[str, Any]:
    """Retrain on training and validation images together; the model is saved with the trial's files."""
    number, how = context.next_number(), dict[str, Any]()
    if finalist.soup:
        how["soup"] = list(finalist.soup)
    if finalist.members:
        how["members"] = list(finalist.members)
    if context.request.budget is not None:
        how["stop_at"] = context.clock_time(context.request.budget - context.forecast.test_seconds(finalist.config))
    outcome = context.run_jobs([final_job(context, number, finalist, **how)])[0]
    result = answer_of(outcome)
    context.costs.add_job(result["ledger"], outcome.seconds, "final")
    context.log("final", number=number, config=finalist.config, seconds=outcome.seconds)
    return result


def final_job(context: Context, number: int, finalist: Finalist, **how: Any) -> Job:
    """The job that fits a configuration to training and validation images together."""
    seed = context.seed_for("final")
    return context.job(number, "final", finalist.config, seed, temperature=finalist.temperature, **how)


def delivered_before(context: Context) -> dict[str, Any] | None:
    """`autotl.json` of a model that a driver delivered before it died: its test is not read a second time."""
    path = context.run.model_path / "autotl.json"
    return read_json(path) if path.exists() else None


def deliver(
    context: Context, finalist: Finalist, fitted: dict[str, Any], place: Path | None = None, **more: Any
) -> dict[str, Any]:
    """Let a worker load the saved model anew, compare it with the trained one, test it once and write `model/`.

    Args:
        fitted: what the last fit answered.
        place: where `model/` and the predictions for the test images go; None is the run directory.
        more: for its description.

    Returns:
        What `autotl.json` says.
    """
    target = context.run if place is None else Run(place)
    payload = {
        "model": fitted["model"],
        "folder": str(target.model_path),
        "manifest": str(context.run.manifest_path),
        "cache": {"root": str(context.cache.root), "max_bytes": context.cache.max_bytes},
        "reference": fitted["reference"],
        "sample": fitted.get("sample"),
        "held_out": None if finalist.soup else finalist.folder,
        "description": {**_description(context, finalist, fitted), **more},
        "predictions": str(target.predictions_path),
        "outer": list(context.outer),
        "log_path": str(Path(fitted["model"]).with_name("deliver-log.txt")),
    }
    outcome = context.dispatcher.run_all([Job("deliver", 1, DELIVER_TARGET, payload)])[0]
    context.costs.add({"test": outcome.seconds})
    context.costs.busy_seconds += outcome.seconds
    answer_of(outcome)
    description: dict[str, Any] = read_json(target.model_path / "autotl.json")
    return description


def _description(context: Context, finalist: Finalist, fitted: dict[str, Any]) -> dict[str, Any]:
    config, manifest = finalist.config, context.manifest
    record: Backbone = context.backbones[config["backbone"]]
    weights = NO_WEIGHTS if config["recipe"] == "scratch" else record.weights
    others = [context.backbones[member["config"]["backbone"]] for member in finalist.members[1:]]
    return {
        "class_names": list(manifest.classes),
        "image_size": config["image_size"],
        "backbone": {"name": record.label, "weights": weights.to_json(), "output": fitted.get("features")},
        "configuration": {**config, "backbone": record.label},
        **_licences([record, *others]),
        **({"members": _members(context, finalist)} if finalist.members else {}),
        **({"soup": len(finalist.soup)} if finalist.soup else {}),
        "plugins": _distinct([plugin for each in (record, *others) for plugin in plugins_of(each, config.get("head"))]),
        "ancestors": [ancestor for each in (record, *others) for ancestor in each.provenance.get("ancestors", [])],
        "trial": finalist.number,
        "temperature": finalist.temperature,
        **({"tested_by": f"{len(context.outer)} searches of other images"} if context.outer else {}),
        "parameters": fitted["parameters"],
        "data": {
            "name": context.request.dataset,
            "fingerprint": manifest.fingerprint,
            "split_fingerprint": manifest.split_fingerprint,
            "seed": context.request.seed,
            "images": {split: len(manifest.rows(split)) for split in ("train", "val", "test")},
        },
        "validation": finalist.scores,
        "command": command_line(context.request),
        **({"budgets": fitted["budgets"]} if "budgets" in fitted else {}),
    }


def _licences(records: Sequence[Backbone]) -> dict[str, Any]:
    """All licences of a model's weights, where they are more than that of its only backbone."""
    inherited = [licence for record in records for licence in record.provenance.get("licences", [])]
    if len(records) > 1:
        own = [record for record in records if "licences" not in record.provenance]
        inherited += [{"of": f"weights of {record.label}", "licence": record.weights.licence} for record in own]
    distinct = [licence for number, licence in enumerate(inherited) if licence not in inherited[:number]]
    return {"licences": distinct} if distinct else {}


def _members(context: Context, finalist: Finalist) -> list[dict[str, Any]]:
    """The members of an ensemble, for people and for the card."""
    return [
        {**member["config"], "backbone": context.backbones[member["config"]["backbone"]].label}
        for member in finalist.members
    ]


def _distinct(plugins: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    return list({item["distribution"]: item for item in plugins}.values())


def answer_of(outcome: Outcome) -> dict[str, Any]:
    """What a job answered.

    Raises:
        AutotlError: it failed.
    """
    if outcome.result is not None:
        return outcome.result
    failure = outcome.failure
    assert isinstance(failure, Failed)
    raise ERRORS.get(failure.kind, AutotlError)(
        f"{failure.message} The log: {outcome.job.payload['log_path']}" if failure.kind == "user" else failure.message
    )
