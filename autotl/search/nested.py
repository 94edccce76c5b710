"""`--cv-test K`: nested cross-validation, for data sets too small to spare a test split.

K searches each leave a part of the images out, choose on the rest as any search does, and are tested once on their
part. The model that is delivered comes from one more search, on all images; its score is that of the K others taken
together, which is honest about the whole procedure (Cawley and Talbot, https://jmlr.org/papers/v11/cawley10a.html).
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from time import monotonic
from typing import Any

import numpy as np

from autotl.data.folds import make_folds
from autotl.data.manifest import Manifest
from autotl.data.split import assign_splits
from autotl.errors import UsageError
from autotl.runs.directory import Run, create_run, open_run
from autotl.runs.events import append_event
from autotl.runs.files import write_text
from autotl.runs.locking import lock_run
from autotl.search.context import Context
from autotl.search.costs import Costs
from autotl.search.past import of_kind, read_past
from autotl.search.stopping import check_finish

RunOne = Callable[[Context], dict[str, Any]]


def check_no_test(report: dict[str, Any], parts: int) -> None:
    """Insist that no test split was given, since every image is to be tested on.

    Raises:
        UsageError: one was.
    """
    if "test" in report.get("given_splits", ()):
        raise UsageError(
            f"--cv-test {parts} tests on every image once, and this data set has a test split of its own. Leave "
            "--cv-test out, or give the images without a test folder."
        )


def whole_manifest(manifest: Manifest) -> Manifest:
    """The same images without a test split: what was carved out for it is trained on."""
    return _divided(manifest, ["train" if sample.split == "test" else sample.split for sample in manifest.samples])


def outer_manifests(manifest: Manifest, parts: int, seed: int) -> list[Manifest]:
    """One manifest for each part: that part is its test split, and validation is carved out of the rest."""
    labels = [sample.label for sample in manifest.samples]
    groups = [sample.group for sample in manifest.samples]
    folds = make_folds(manifest.labels(), np.array(groups), parts, seed)
    manifests = []
    for number, fold in enumerate(folds):
        held_out = set(fold.tolist())
        given = ["test" if row in held_out else None for row in range(len(labels))]
        names = [manifest.classes[label] for label in labels]
        manifests.append(_divided(manifest, assign_splits(names, groups, given, seed + number)))
    return manifests


def run_nested(context: Context, parts: int, run_one: RunOne) -> dict[str, Any]:
    """Run the outer searches and then the one that delivers.

    Args:
        context: of the whole; its manifest has all images, in any division.
        parts: how many outer searches.
        run_one: runs one search to its result.

    Returns:
        The result of the last search; its test scores are those of the outer searches together.
    """
    if context.finishes:
        check_finish(context.run, parts)
    manifests = outer_manifests(context.manifest, parts, context.seed_for("outer folds"))
    share = None if context.request.budget is None else context.request.budget / (len(manifests) + 1)
    predictions = []
    for number, manifest in enumerate(manifests):
        child = _child(context, number, manifest, share)
        predictions.append(str(child.run.predictions_path))
        context.begin(f"part {number + 1} of {len(manifests) + 1}", f"tested on a part of its own: {child.run.path}")
        if number in context.past.parts:
            context.costs.absorb(Costs(**context.past.parts[number]), f"outer {number}")
        elif not (child.run.result_path).exists():
            with lock_run(child.run):
                child.log_beginning()
                run_one(child)
            context.costs.absorb(child.costs, f"outer {number}")
            context.log("part", number=number, costs=asdict(child.costs))
        else:  # its driver died before it wrote down what the part had cost: trials are most of that
            for record in of_kind(child.past.events, "trial"):
                if "ledger" in record:
                    child.costs.add_job(record["ledger"], record["seconds"], record["stage"])
            context.costs.absorb(child.costs, f"outer {number}")
            context.log("part", number=number, costs=asdict(child.costs))
    context.begin(f"part {len(manifests) + 1} of {len(manifests) + 1}", "the model, on all images")
    last = replace(context, manifest=whole_manifest(context.manifest), outer=tuple(predictions), shares_stores=True)
    last.manifest.write(context.run.manifest_path)
    return run_one(last)


def _child(context: Context, number: int, manifest: Manifest, budget: float | None) -> Context:
    path = context.run.path / "outer" / str(number)
    request = replace(context.request, cv_test=None, budget=budget)
    run = open_run(path) if Run(path).request_path.exists() else create_run(path, request.to_json())
    if not run.manifest_path.exists():  # the driver that made the folder may have died before it wrote more
        write_text(run.space_path, context.run.space_path.read_text(encoding="utf-8"))
        manifest.write(run.manifest_path)
    past = read_past(run)
    child = replace(
        context,
        request=request,
        manifest=manifest,
        run=run,
        dispatcher=context.dispatcher.afresh(partial(append_event, run), past.events),
        costs=Costs(),
        number=0,
        past=past,
        expected=None,
        started=monotonic() - past.seconds,
        shares_stores=True,
    )
    child.dispatcher.look = child.look
    return child


def _divided(manifest: Manifest, splits: list[Any]) -> Manifest:
    samples = tuple(replace(sample, split=split) for sample, split in zip(manifest.samples, splits, strict=True))
    return replace(manifest, samples=samples)
