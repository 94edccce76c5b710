"""A network trained on a source data set, to be the backbone of searches on others."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotl.backbones.contract import PRETRAINED, RANDOM, Backbone
from autotl.backbones.folder import inherited, write_backbone
from autotl.backbones.hypermodel import WholeModel
from autotl.backbones.registry import absolute_reference, is_path, load_backbone
from autotl.errors import UsageError
from autotl.execution.protocol import Job
from autotl.runs.directory import Run
from autotl.search.context import OnEvent
from autotl.search.finish import answer_of
from autotl.search.frozen import plugins_of
from autotl.search.plan import resolve_backbones
from autotl.studies.fits import in_two_parts
from autotl.studies.session import Session, Setup, finished_result, open_session, write_result

EPOCHS = 30
BACKWARD = 2  # passes that the gradients of a layer cost
BUDGET_SHARE = 0.7  # of a budget that epochs are planned for: the rest is for building, tracing and scoring
TRAINING_SHARE = 0.9  # of a budget, after which training ends: then the network is scored, saved and read again
TIMING, TRAINING = 1, 2  # numbers of the jobs
LARGEST_BATCH, SMALLEST_BATCH, LEAST_STEPS = 128, 16, 16
RATES = {RANDOM: (2e-3, 2e-3), PRETRAINED: (1e-3, 2e-4)}  # of the head and of the network
RECIPE = {
    "recipe": "finetune", "freeze_depth": 0.0, "pooling": "avg", "augmentation": "strong", "mixup": 0.2,
    "label_smoothing": 0.1, "weight_decay": 0.05, "ema": "on",
}  # fmt: skip
UNLABELLED = {"recipe": "finetune", "freeze_depth": 0.0, "pooling": "avg", "weight_decay": 0.05, "ema": "on"}
GIVEN, NONE = LABELS = ("given", "none")
METHODS = ("simsiam", "vicreg")
METHOD = "vicreg"  # the better one of images without labels: benchmarks/results/self_supervised.md
SMALLEST_UNLABELLED_BATCH = 64  # images of a batch are told apart from each other


@dataclass(frozen=True)
class Request:
    """One pretraining.

    Attributes:
        dataset: a path or a name.
        backbone: a name, or a path.
        labels: "given", or "none": those of the data set are not looked at.
        method: of METHODS, without labels.
        init: "random", "pretrained", or the path of a network of this architecture to go on from.
        epochs: None leaves it to the budget.
        budget: seconds, or None.
        image_size: in pixels; None is the network's own.
        seed: of everything random.
        accept_licences: that restrict the use of weights.
    """

    dataset: str
    backbone: str
    labels: str = GIVEN
    method: str = METHOD
    init: str = RANDOM
    epochs: int | None = None
    budget: float | None = None
    image_size: int | None = None
    seed: int = 0
    accept_licences: tuple[str, ...] = ()


def run_pretrain(request: Request, setup: Setup, on_event: OnEvent) -> dict[str, Any]:
    """Train a network and write its backbone folder; what ended in `setup.out` already is only read.

    Returns:
        `run`, `backbone` (its folder), the request, `images`, `classes`, `epochs`, `scores` and `curve`.

    Raises:
        UsageError: the request cannot be meant, or the network is not to be had.
        DataError: the images cannot be used.
        TrialError: the loss did not stay finite.
        Interrupted: it was stopped, and can be gone on with.
    """
    _check(request)
    record, weights = _find(request)
    size = record.resolve_size(request.image_size)
    asked = {
        "study": "pretrain", "dataset": request.dataset, "backbone": record.name, "weights": weights,
        "image_size": size, "labels": request.labels, "method": request.method if request.labels == NONE else None,
        "epochs": request.epochs, "budget": request.budget, "seed": request.seed,
    }  # fmt: skip
    if (before := finished_result(asked, setup)) is not None:
        return {**before, "backbone_folder": str(Run(Path(before["run"])).model_path)}
    with open_session(asked, setup, [size], on_event, in_two_parts) as session:
        recipe = RECIPE if request.labels == GIVEN else {**UNLABELLED, "head": request.method}
        config = {"backbone": record.name, "weights": weights, "image_size": size, **recipe}
        result = _train(session, record, config)
        write_result(session, result)
    return result


def _check(request: Request) -> None:
    if request.labels not in LABELS:
        raise UsageError(f"Labels are {' or '.join(LABELS)}, not {request.labels!r}.")
    if request.method not in METHODS:
        raise UsageError(f"Without labels the method is {' or '.join(METHODS)}, not {request.method!r}.")
    if request.epochs is not None and request.epochs < 1:
        raise UsageError(f"epochs must be at least 1, not {request.epochs}.")
    if request.budget is not None and request.budget <= 0:
        raise UsageError(f"A budget is a time greater than 0, not {request.budget} s. Give --budget 10m, say.")
    if not 0 <= request.seed < 2**31:
        raise UsageError(f"A seed is a whole number from 0 to 2147483647, not {request.seed}.")


def _find(request: Request) -> tuple[Backbone, str]:
    """The network, and the weights that it begins with.

    Raises:
        UsageError: there is no such network, its weights are not on this machine, their licence was not accepted, or
            what it is to go on from is another architecture.
    """
    record, weights = load_backbone(absolute_reference(request.backbone)), request.init
    if isinstance(record.build, WholeModel):
        raise UsageError(f"{request.backbone} is a whole model with a head of its own. Pretrain a backbone.")
    if weights not in (RANDOM, PRETRAINED):
        if not is_path(weights):
            raise UsageError(f"--init is random, pretrained, or the path of a run or backbone folder, not {weights!r}.")
        parent, weights = load_backbone(absolute_reference(weights)), PRETRAINED
        made_from = [parent.name, *(one["backbone"] for one in parent.provenance.get("ancestors", []))]
        if not {record.name, record.label} & set(made_from):
            raise UsageError(
                f"--init goes on from a network of the same architecture: {request.init} was made from "
                f"{made_from[-1] or 'an unknown network'}, not from {request.backbone}. Leave one of the two out."
            )
        record = parent
    if weights == PRETRAINED:
        if not record.weights.is_pretrained:
            raise UsageError(f"{record.label} has no pretrained weights to go on from. Give --init random.")
        resolve_backbones([record.name], request.accept_licences)  # refuses a licence that was not accepted
        if not record.available():
            raise UsageError(
                f"The pretrained weights of {record.label} are not on this machine. Run: autotl backbones fetch "
                f"{record.name}; or begin with --init random."
            )
    return record, weights


def _train(session: Session, record: Backbone, config: dict[str, Any]) -> dict[str, Any]:
    head_rate, tail_rate = RATES[config["weights"]]
    images, is_labelled = len(session.manifest.rows("train")), session.request["labels"] == GIVEN
    batch = max(_batch_size(images), 0 if is_labelled else SMALLEST_UNLABELLED_BATCH)
    config |= {"head_rate": head_rate, "tail_rate": tail_rate, "batch_size": batch}
    config["epochs"] = _plan_epochs(session, config, images)
    session.begin(
        "pretrain",
        f"{record.label} from {config['weights']} weights on {images} images at {config['image_size']} px, "
        f"{config['epochs']} epochs" + ("" if is_labelled else f", without labels ({config['head']})"),
    )
    session.tell("progress", done=0, total=config["epochs"])

    def on_report(job: Job, step: int, value: float) -> bool:
        session.tell("progress", done=step, total=config["epochs"])
        if (message := _news(job, step, config["epochs"])) is not None:
            session.tell("note", message=message)
        return False

    fields: dict[str, Any] = {"stage": "pretrain", "metric": "accuracy"}
    if (budget := session.request["budget"]) is not None:
        fields["stop_at"] = time.time() + max(1.0, TRAINING_SHARE * budget - session.elapsed())
    kind = "pretrain" if is_labelled else "self_supervised"
    job = session.job(TRAINING, kind, config, session.seed_for("pretrain"), **fields)
    found = answer_of(session.run_jobs([job], on_report)[0])
    return _deliver(session, record, config, found)


def _batch_size(images: int) -> int:
    """The power of two that makes at least 16 steps an epoch, from 16 to 128."""
    size = LARGEST_BATCH
    while size > SMALLEST_BATCH and images // size < LEAST_STEPS:
        size //= 2
    return size


def _plan_epochs(session: Session, config: Mapping[str, Any], images: int) -> int:
    """As many as were asked for; else as many as the budget has time for, by the speed of the network."""
    asked, budget = session.request["epochs"], session.request["budget"]
    if asked is not None or budget is None:
        return int(asked or EPOCHS)
    network = {name: config[name] for name in ("backbone", "weights", "image_size")}
    timing = answer_of(session.run_jobs([session.job(TIMING, "timing", network, session.seed_for("timing"))])[0])
    views = 1 if session.request["labels"] == GIVEN else 2
    return max(1, int(BUDGET_SHARE * budget / (views * (1 + BACKWARD) * images * timing["seconds_per_image"])))


def _news(job: Job, step: int, epochs: int) -> str | None:
    """An epoch in words, from the curve that the worker writes beside its log; None where it was not scored."""
    try:
        point = json.loads((Path(job.payload["folder"]) / "epochs.json").read_text())[-1]
    except (OSError, ValueError):  # an executor without a common folder
        return None
    if point["epoch"] != step:
        return None
    what = "accuracy" if "accuracy" in point else "match"
    return f"epoch {step} of {epochs}: loss {point['loss']:.3f}, held-out {what} {point[what]:.3f}"


def _deliver(session: Session, record: Backbone, config: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    manifest, request = session.manifest, session.request
    images = {"train": len(manifest.rows("train")), "held_out": len(manifest.rows("val"))}
    shown = {**config, "backbone": record.label}
    training = {
        "init": f"{record.label}'s" if config["weights"] == PRETRAINED else RANDOM,
        "labels": request["labels"],
        "method": request["method"],
        "epochs": found["epochs"],
        "planned_epochs": config["epochs"],
        "precision": found["precision"],
        "recipe": shown,
        "scores": found["scores"],
        "curve": found["curve"],
        "seconds": round(session.elapsed(), 1),
    }
    parent = inherited(record, config["weights"])
    description = {
        **parent,
        "backbone": {**parent["backbone"], "output": found["output"]},
        "image_size": config["image_size"],
        "configuration": shown,
        "parameters": found["parameters"],
        "plugins": plugins_of(record, None),
        "data": {
            "name": request["dataset"],
            "fingerprint": manifest.fingerprint,
            "split_fingerprint": manifest.split_fingerprint,
            "seed": request["seed"],
            "images": images,
            "classes": len(manifest.classes),
        },
    }
    write_backbone(Path(found["model"]), session.run.model_path, description, training)
    Path(found["model"]).unlink()
    return {
        "run": str(session.run.path),
        **request,
        "backbone_folder": str(session.run.model_path),
        "label": record.label,
        "images": images,
        "classes": len(manifest.classes),
        "licences": description["licences"],
        "ancestors": description["ancestors"],
        **training,
    }
