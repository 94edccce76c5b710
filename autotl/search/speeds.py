"""The check before a search: how fast each network runs here."""

from collections.abc import Mapping
from typing import Any

from autotl.backbones.contract import Backbone
from autotl.backbones.hypermodel import WholeModel
from autotl.execution.protocol import Job
from autotl.search.asking import TRIAL_TARGET
from autotl.search.context import Context
from autotl.search.forecast import Forecast, Speed
from autotl.search.plan import stage_choices


def measure_speeds(context: Context) -> Forecast:
    """Time three batches of every backbone at its own size, where the cache does not know them yet.

    A network that cannot be timed is left out: its first trial will say what is wrong with it.
    """
    jobs = [_job(context, name, record) for name, record in context.backbones.items() if _can_be_timed(record)]
    context.tell("phase", phase="check", detail=f"timing {len(jobs)} network{'' if len(jobs) == 1 else 's'}")
    speeds = {}
    for job, outcome in zip(jobs, context.dispatcher.run_all(jobs), strict=True):
        if outcome.result is None:
            context.log("timing_failed", job=job.id, message=getattr(outcome.failure, "message", ""))
            continue
        context.costs.add_job(outcome.result["ledger"], outcome.seconds, "check")
        speeds[job.payload["config"]["backbone"]] = _read(outcome.result, job.payload["config"]["image_size"])
    manifest = context.manifest
    return Forecast(speeds, len(manifest.rows("train", "val")), len(manifest.rows("test")))


def _can_be_timed(record: Backbone) -> bool:
    return not isinstance(record.build, WholeModel)


def _job(context: Context, name: str, record: Backbone) -> Job:
    folder = context.run.path / "check"
    asked = stage_choices(context.space.stages[0], "weights")  # whoever wants random ones need not have others
    weights = "pretrained" if record.weights.is_pretrained and asked != ["random"] else "random"
    payload = {
        "kind": "timing",
        "config": {"backbone": name, "image_size": record.image_size, "weights": weights},
        "manifest": str(context.run.manifest_path),
        "dataset": context.manifest.root,
        "cache": {"root": str(context.cache.root), "max_bytes": context.cache.max_bytes},
        "folder": str(folder),
        "log_path": str(folder / "log.txt"),
    }
    return Job(f"timing-{name}", 1, TRIAL_TARGET, payload)


def _read(result: Mapping[str, Any], image_size: int) -> Speed:
    shares = tuple(float(share) for share in result["tail_shares"])
    return Speed(float(result["seconds_per_image"]), image_size, shares, int(result["multiply_adds"]))
