"""The jobs a worker runs, started by name (`autotl.learn.jobs:run_job`): fit and score a trial, or fit the final model.

A job is JSON in and JSON out; arrays and models travel as files beside the trial's log.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from autotl.backbones.hypermodel import WholeModel
from autotl.backbones.registry import load_backbone
from autotl.errors import TrialError
from autotl.heads.replay import UnsettledError
from autotl.learn.config import TrialConfig, read_config
from autotl.learn.finetune import fit_finetune
from autotl.learn.folds import make_folds
from autotl.learn.ledger import Ledger
from autotl.learn.metrics import fit_temperature, scores, softmax
from autotl.learn.probe import cross_validate_linear, fit_head, fit_probe, network_multiply_adds
from autotl.learn.task import Task, open_task

Report = Callable[[int, float, dict[str, Any]], bool]
FOLDS = 5
REFERENCE_IMAGES = 64


def run_job(payload: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Run one job.

    Args:
        payload: `kind` ("trial" or "final"), `config`, `manifest`, `cache {root, max_bytes}`, `seed`, `folder` (for
            files), `metric`; a trial has `evaluation` ("cross_validation" or "holdout") and `fold_seed` (trials that
            are to be compared share it: then they are scored on the same folds), a final fit has `temperature`.
        report: takes (step, score so far, extra) and answers True when the trial is to stop.

    Returns:
        What became of it; or, of a trial with a KerasTuner hypermodel that has no value yet for some of its
        hyperparameters, `needs` (their declarations) and `of` (whose they are): then nothing was fitted, and the job is
        to be sent again with values for them.
    """
    started, ledger = perf_counter(), Ledger()
    config = read_config(payload["config"])
    folder = Path(payload["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    task = open_task(payload, ledger)
    run = {"trial": _run_trial, "final": _run_final}[payload["kind"]]

    def report_and_keep(step: int, value: float, extra: dict[str, Any]) -> bool:
        with (folder / "curve.jsonl").open("a") as curve:
            curve.write(json.dumps({"step": step, "value": value}) + "\n")
        return report(step, value, extra)

    result = {**_run_settled(run, task, config, payload, report_and_keep), "ledger": ledger.to_json()}
    result["seconds"] = round(perf_counter() - started, 4)
    (folder / "result.json").write_text(json.dumps(result))
    return result


def _run_settled(
    run: Callable[..., dict[str, Any]], task: Task, config: TrialConfig, payload: Mapping[str, Any], report: Report
) -> dict[str, Any]:
    """Run the job, once more without the values that a hypermodel has no use for; or say what it needs."""
    whole = load_backbone(config.backbone).build
    if config.recipe != "scratch" and isinstance(whole, WholeModel):
        whole(config.image_size, config.weights)  # says why it is no backbone
    try:
        return run(task, config, payload, report)
    except UnsettledError as unsettled:
        needs, owner, values = unsettled.needs, unsettled.owner, unsettled.values
    if not needs:
        return run(task, replace(config, options=tuple(sorted(values.items()))), payload, report)
    if payload["kind"] != "trial":
        names = ", ".join(need["name"] for need in needs)
        raise TrialError(
            f"A hypermodel must ask for the same hyperparameters when it is built with the same values; {owner} now "
            f"asks for {names} too. Take what is random, or depends on the number of images, out of its build."
        )
    return {"needs": needs, "of": owner}


def _run_trial(task: Task, config: TrialConfig, payload: Mapping[str, Any], report: Report) -> dict[str, Any]:
    evaluate = {"cross_validation": _cross_validate, "holdout": _hold_out}[payload["evaluation"]]
    logits, rows, extra = evaluate(task, config, payload, report)
    labels = task.labels[rows]
    temperature = fit_temperature(logits, labels)
    probabilities = softmax(logits / temperature)
    folder = Path(payload["folder"])
    np.savez(folder / "validation.npz", probabilities=probabilities, rows=rows, labels=labels)
    measured = scores(probabilities, labels)
    if "multiply_adds" not in extra:
        extra = {**extra, "multiply_adds": network_multiply_adds(task, config), "options": dict(config.options)}
    return {**extra, "score": measured[payload["metric"]], "scores": measured, "temperature": temperature}


def _score(logits: np.ndarray, labels: np.ndarray, metric: str) -> float:
    """The metric after calibration: a fine-tuned network's overconfidence is one number, and no reason to reject it."""
    return float(scores(softmax(logits / fit_temperature(logits, labels)), labels)[metric])


def _cross_validate(
    task: Task, config: TrialConfig, payload: Mapping[str, Any], report: Report
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Out-of-fold logits of all rows; reports after each fold the score of the folds so far."""
    seed, metric = payload["seed"], payload["metric"]
    folds = make_folds(task.labels, task.groups, FOLDS, payload.get("fold_seed", payload["seed"]))
    if config.is_convex:
        logits = cross_validate_linear(task, config, folds)
        report(len(folds), _score(logits, task.labels, metric), {})
        return logits, task.everything, {"stopped": False, "folds": len(folds)}
    done: list[np.ndarray] = []
    logits = np.zeros((len(task.labels), len(task.classes)), np.float32)
    curve = []
    extra: dict[str, Any] = {}
    for number, held_out in enumerate(folds):
        rows = np.setdiff1d(task.everything, held_out)
        logits[held_out], extra = _fit(task, config, rows, held_out, seed + number)
        done.append(held_out)
        so_far = np.concatenate(done)
        curve.append(_score(logits[so_far], task.labels[so_far], metric))
        if report(number + 1, curve[-1], {}):
            break
    rows = np.sort(np.concatenate(done))
    extra = {**extra, "curve": curve, "stopped": len(rows) < len(task.labels), "folds": len(curve)}
    return logits[rows], rows, extra


def _fit(
    task: Task, config: TrialConfig, rows: np.ndarray, held_out: np.ndarray, seed: int
) -> tuple[np.ndarray, dict[str, Any]]:
    """Logits of the held-out rows, and what else is to be told of the model."""
    if config.recipe == "probe":
        return fit_probe(task, config, rows, held_out, seed), {}
    if config.recipe == "scratch":
        from autotl.learn.scratch import fit_scratch

        fitted = fit_scratch(task, config, rows, held_out, seed, lambda epoch, logits: False)
        return fitted.logits, fitted.to_json()
    from autotl.learn.training import predict_logits

    trainable, examples, _, _ = fit_finetune(task, config, rows, seed)
    return predict_logits(trainable, examples, held_out, task.ledger), {}


def _hold_out(
    task: Task, config: TrialConfig, payload: Mapping[str, Any], report: Report
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Logits of the validation rows from a fit to the training rows; reports after each epoch."""
    if config.recipe == "scratch":
        return _hold_out_scratch(task, config, payload, report)
    from autotl.learn.training import predict_logits

    seed, metric = payload["seed"], payload["metric"]
    rows, held_out = task.train, task.validation
    curve: list[float] = []
    latest = np.zeros(0)
    if config.recipe == "probe":
        latest = fit_probe(task, config, rows, held_out, seed)
        curve.append(_score(latest, task.labels[held_out], metric))
        report(1, curve[-1], {})
        return latest, held_out, {"curve": curve, "stopped": False}

    def after_epoch(trainable: Any, examples: Any, epoch: int) -> bool:
        nonlocal latest
        latest = predict_logits(trainable, examples, held_out, task.ledger)
        curve.append(_score(latest, task.labels[held_out], metric))
        return report(epoch, curve[-1], {})

    trainable, _, _, cut = fit_finetune(task, config, rows, seed, after_epoch)
    trained = sum(int(np.prod(variable.shape)) for variable in trainable.model.trainable_variables)
    extra = {"curve": curve, "stopped": len(curve) < config.epochs, "cut": None if cut is None else cut.name}
    return latest, held_out, {**extra, "trained_parameters": trained}


def _hold_out_scratch(
    task: Task, config: TrialConfig, payload: Mapping[str, Any], report: Report
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    from autotl.learn.scratch import fit_scratch

    held_out, curve = task.validation, list[float]()

    def after_epoch(epoch: int, logits: np.ndarray) -> bool:
        curve.append(_score(logits, task.labels[held_out], payload["metric"]))
        return report(epoch, curve[-1], {})

    fitted = fit_scratch(task, config, task.train, held_out, payload["seed"], after_epoch)
    return fitted.logits, held_out, {**fitted.to_json(), "curve": curve}


def _run_final(task: Task, config: TrialConfig, payload: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Fit to training and validation rows together, assemble, save; and say what the live model computes."""
    from autotl.learn.features import forward_batches

    ledger, folder = task.ledger, Path(payload["folder"])
    with ledger.phase("import"):
        import keras  # noqa: F401
    model, features = _fit_final(task, config, payload, report)
    with ledger.phase("save"):
        path = folder / "model.keras"
        model.save(path)
    with ledger.phase("evaluate"):
        from autotl.data.images import open_images

        images = open_images(task.sources.manifest, config.image_size, task.sources.cache)
        rows = _reference_rows(task)
        stored = [task.sources.rows[row] for row in rows]
        reference = np.concatenate(list(forward_batches(model, images, stored)))
        np.save(folder / "reference.npy", reference)
    return {
        "model": str(path),
        "reference": {
            "rows": stored,
            "probabilities": str(folder / "reference.npy"),
        },
        "parameters": int(model.count_params()),
        "features": features,
    }


def _fit_final(task: Task, config: TrialConfig, payload: Mapping[str, Any], report: Report) -> tuple[Any, str | None]:
    """The model that is delivered, fitted to all rows, and the operation in it whose output the head stands on.

    The final fit is never pruned.
    """
    from autotl.learn.assemble import assemble
    from autotl.learn.networks import borrow_network

    seed, temperature = payload["seed"], payload["temperature"]

    def after_epoch(epoch: int) -> bool:
        report(epoch, float(epoch), {})
        return False

    if config.recipe == "scratch":
        from autotl.learn.scratch import finish, fit_scratch

        nothing = np.zeros(0, np.int64)
        fitted = fit_scratch(task, config, task.everything, nothing, seed, lambda epoch, _: after_epoch(epoch))
        return finish(fitted.whole.scorer, temperature, "autotl"), fitted.whole.features
    if config.recipe == "probe":
        head = fit_head(task, config, task.everything, seed)
        network = borrow_network(config.backbone, config.image_size, config.weights, task.ledger)
    else:
        trainable, _, network, _ = fit_finetune(
            task, config, task.everything, seed, lambda _tail, _examples, epoch: after_epoch(epoch)
        )
        head = trainable.model.get_layer("head")
    model = assemble(network.model, head, config.pooling, temperature, "autotl", config.taps)
    return model, network.cuts[-1].name


def _reference_rows(task: Task) -> np.ndarray:
    """Up to 64 rows spread evenly over the images, for comparing the saved model with the live one."""
    rows = task.everything
    if len(rows) == 0:
        raise TrialError("There is no image to compare the saved model with.")
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(REFERENCE_IMAGES, len(rows))).round().astype(int))]
