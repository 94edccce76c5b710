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
from autotl.learn.checkpoints import Report, open_course, remove_checkpoints
from autotl.learn.config import TrialConfig, read_config
from autotl.learn.ledger import Ledger
from autotl.learn.memory_cap import hold_memory_cap
from autotl.learn.probe import fit_head
from autotl.learn.task import Task, open_task
from autotl.learn.trials import make_alarm, run_trial

REFERENCE_IMAGES = 64


def run_job(payload: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Run one job.

    Args:
        payload: `kind` (see KINDS), `config`, `manifest`, `cache {root, max_bytes}`,
            `seed`, `folder` (for files), `metric`; `stop_at`, the time by which fitting ends (seconds since the epoch
            of the clock). A trial has `evaluation` ("cross_validation", then with `folds` and `repeats`, or "holdout"),
            `fitted_folds` (so many of a fine-tune's folds are fitted and scored, the first ones; without it, all),
            `prune` (whether the first fold's epochs are reported) and `fold_seed` (trials that are to be compared
            share it: then they are scored on the same folds), a final fit has `temperature`, `members` where it is
            an ensemble ({config, temperature} of each) and `soup` where it averages weights (configurations).
            `earlier` are the folders of earlier attempts, oldest first: a fit that one of them has begun goes on from
            its last checkpoint. Fits write one every `checkpoint_seconds` (10), and it is gone when the job has ended;
            but not when it was told to stop: only the driver knows whether anybody wants to go on from there.
            `micro_batch` is how many images may go through a network at a time: fine-tuning accumulates gradients, so
            that the batch size stands, and frozen parts are run in smaller batches. Heads on cached features, and
            models that are trained from scratch, take no notice.
        report: takes (step, score so far, extra) and answers True when the trial is to stop.

    Returns:
        What became of it; or, of a trial with a KerasTuner hypermodel that has no value yet for some of its
        hyperparameters, `needs` (their declarations) and `of` (whose they are): then nothing was fitted, and the job is
        to be sent again with values for them.
    """
    started, ledger = perf_counter(), Ledger()
    hold_memory_cap()
    config = read_config(payload["config"])
    folder = Path(payload["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    task = open_task(payload, ledger)
    run = KINDS[payload["kind"]]

    is_told_to_stop = False

    def report_and_keep(step: int, value: float, extra: dict[str, Any]) -> bool:
        nonlocal is_told_to_stop
        with (folder / "curve.jsonl").open("a") as curve:
            curve.write(json.dumps({"step": step, "value": value}) + "\n")
        is_told_to_stop = report(step, value, extra)
        return is_told_to_stop

    try:
        result = {**_run_settled(run, task, config, payload, report_and_keep), "ledger": ledger.to_json()}
    except TrialError:  # another attempt would come to the same
        remove_checkpoints(payload)
        raise
    result["seconds"] = round(perf_counter() - started, 4)
    (folder / "result.json").write_text(json.dumps(result))
    if not (is_told_to_stop and result.get("stopped", False)):
        remove_checkpoints(payload)
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


def _run_timing(task: Task, config: TrialConfig, payload: Mapping[str, Any], report: Report) -> dict[str, Any]:
    from autotl.learn.timing import time_network

    return time_network(task, config)


def _run_stack(task: Task, config: TrialConfig, payload: Mapping[str, Any], report: Report) -> dict[str, Any]:
    from autotl.learn.stack import score_stack

    return score_stack(payload)


def _run_soup(task: Task, config: TrialConfig, payload: Mapping[str, Any], report: Report) -> dict[str, Any]:
    from autotl.learn.soups import score_soup

    return score_soup(task, config, payload)


def _run_fit(task: Task, config: TrialConfig, payload: Mapping[str, Any], report: Report) -> dict[str, Any]:
    from autotl.learn.fits import run_fit

    return run_fit(task, config, payload, report)


def _run_pretrain(task: Task, config: TrialConfig, payload: Mapping[str, Any], report: Report) -> dict[str, Any]:
    from autotl.learn.pretrain import run_pretrain

    return run_pretrain(task, config, payload, report)


def _run_self_supervised(task: Task, config: TrialConfig, payload: Mapping[str, Any], report: Report) -> dict[str, Any]:
    from autotl.learn.self_supervised import run_self_supervised

    return run_self_supervised(task, config, payload, report)


def _run_settle(task: Task, config: TrialConfig, payload: Mapping[str, Any], report: Report) -> dict[str, Any]:
    from autotl.learn.settling import run_settle

    return run_settle(task, config, payload, report)


def _run_final(task: Task, config: TrialConfig, payload: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Fit to training and validation rows together, assemble, save; and say what the live model computes."""
    from autotl.learn.features import BATCH, forward_batches

    ledger, folder = task.ledger, Path(payload["folder"])
    with ledger.phase("import"):
        import keras  # noqa: F401
    model, features = _fit_final(task, config, payload, report)
    with ledger.phase("save"):
        path = folder / "model.keras"
        model.save(path)
    images = task.sources.images(config.image_size)
    with ledger.phase("evaluate"):
        rows = _reference_rows(task)
        stored = [task.sources.rows[row] for row in rows]
        reference = np.concatenate(list(forward_batches(model, images, stored, task.sources.at_most(BATCH))))
        np.save(folder / "reference.npy", reference)
    return {
        "model": str(path),
        "sample": _sample_features(task, config, payload),
        "reference": {
            "rows": stored,
            "probabilities": str(folder / "reference.npy"),
        },
        "parameters": int(model.count_params()),
        "features": features,
    }


def _sample_features(task: Task, config: TrialConfig, payload: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the head stands on, of a sample of the images, where a store has it: nobody need compute it again."""
    if config.recipe != "probe" or config.pooling == "attention" or "members" in payload:
        return None
    from autotl.learn.novelty import FIT_IMAGES, stratified_rows
    from autotl.learn.prepared import plain_view

    rows, path = stratified_rows(task.labels, FIT_IMAGES), Path(payload["folder"]) / "sample.npy"
    np.save(path, plain_view(task, config)[rows].astype(np.float32))
    return {"rows": [task.sources.rows[row] for row in rows], "features": str(path)}


def _fit_final(task: Task, config: TrialConfig, payload: Mapping[str, Any], report: Report) -> tuple[Any, str | None]:
    """The model that is delivered, fitted to all rows, and the operation in it whose output the head stands on.

    The final fit is never pruned.
    """
    from autotl.learn.assemble import assemble
    from autotl.learn.networks import borrow_network

    seed, temperature = payload["seed"], payload["temperature"]
    if "members" in payload:
        from autotl.learn.stack import fit_stack

        members = [read_config(member["config"]) for member in payload["members"]]
        temperatures = [member["temperature"] for member in payload["members"]]
        return fit_stack(task, members, temperatures, temperature, seed), None

    course = open_course(task, config, payload, report)

    def after_epoch(epoch: int) -> bool:
        course.report(epoch, float(epoch))
        return False

    if config.recipe == "scratch":
        from autotl.learn.scratch import finish, fit_scratch

        nothing = np.zeros(0, np.int64)
        fitted = fit_scratch(
            task, config, task.everything, nothing, seed, lambda epoch, _: after_epoch(epoch), course.resume()
        )
        return finish(fitted.whole.scorer, temperature, "autotl"), fitted.whole.features
    if "soup" in payload:
        from autotl.learn.finetune import FRESH
        from autotl.learn.soups import fit_soup

        configs = [read_config(each) for each in payload["soup"]]
        fresh = [each.augmentation in FRESH for each in configs]
        head, network = fit_soup(task, configs, seed, fresh, make_alarm(payload))
    elif config.recipe == "probe":
        head = fit_head(task, config, task.everything, seed)
        network = borrow_network(config.backbone, config.image_size, config.weights, task.ledger)
    else:
        from autotl.learn.finetune import FRESH, fit_finetune

        trainable, _, network, _ = fit_finetune(
            task,
            config,
            task.everything,
            seed,
            lambda _tail, _examples, epoch: after_epoch(epoch),
            fresh=config.augmentation in FRESH,
            should_stop=make_alarm(payload),
            resume=course.resume(),
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


KINDS: dict[str, Callable[[Task, TrialConfig, Mapping[str, Any], Report], dict[str, Any]]] = {
    "trial": run_trial,
    "final": _run_final,
    "timing": _run_timing,
    "stack": _run_stack,
    "soup": _run_soup,
    "fit": _run_fit,
    "pretrain": _run_pretrain,
    "self_supervised": _run_self_supervised,
    "settle": _run_settle,
}
