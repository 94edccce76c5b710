"""Any finished trial as a model folder: fitted to training and validation images, checked, tested and described."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from autotl.errors import UsageError
from autotl.runs.directory import Run, open_search
from autotl.runs.events import read_events
from autotl.runs.files import read_json
from autotl.search.context import Context, OnEvent
from autotl.search.finalists import Finalist
from autotl.search.finish import answer_of, deliver, final_job
from autotl.search.past import of_kind
from autotl.search.reopen import reopened

MODEL = "model"


def refit_trial(
    path: Path, number: int, on_event: OnEvent, cache_dir: str | None = None, executor: str = "local"
) -> Path:
    """Make the model folder `RUN/trials/NNNN/model` of a finished trial, if it has none; the delivered one has.

    It is fitted as the delivered model of a search is, with the trial's own temperature, and tested as that is: each
    such look at the test split is counted in `test_reads`, those at the other models of the run included.

    Args:
        path: the run directory.
        number: of the trial.
        on_event: told of progress, and that the test split is read.
        cache_dir: where images and features are; None is where the search had them.
        executor: where it runs.

    Returns:
        The model folder.

    Raises:
        UsageError: no run, one that is driven, no such trial, or none that was finished.
        ParityError: the saved model does not compute what the trained one did.
    """
    run = open_search(path)
    record = finished_trial(run, number)
    folder = run.trial_dir(number) / MODEL
    for made in (run.model_path, folder):
        if (made / "autotl.json").exists() and _is_of(read_json(made / "autotl.json"), number):
            return made
    with reopened(path, on_event, cache_dir, executor) as context:
        if context.request.cv_test is not None:
            raise UsageError(
                f"{run.path} was tested by --cv-test {context.request.cv_test}, which tests the choice of a model and "
                "no single trial; it has no test images left. Export the delivered model: leave --trial out."
            )
        _refit(context, record, folder)
    return folder


def _is_of(description: dict[str, Any], number: int) -> bool:
    """Whether a model is that of one trial alone."""
    return description.get("trial") == number and not {"members", "soup"} & set(description)


def finished_trial(run: Run, number: int) -> dict[str, Any]:
    """The record of a trial that came to its end.

    Raises:
        UsageError: there is none of that number, or it was pruned or failed.
    """
    trials = {event["number"]: event for event in of_kind(read_events(run), "trial")}
    complete = sorted(each for each, trial in trials.items() if trial["state"] == "complete")
    if number not in complete:
        state = f"trial {number} was {trials[number]['state']}" if number in trials else f"there is no trial {number}"
        named = ", ".join(map(str, complete)) if complete else "none"
        raise UsageError(f"A model is made of a trial that is complete: in {run.path} {state}. Complete are: {named}.")
    return dict(trials[number])


def _refit(context: Context, record: dict[str, Any], folder: Path) -> None:
    number, nothing = record["number"], np.zeros(0)
    images = len(context.manifest.rows("train", "val"))
    scores = {"n": record.get("images") or images, **record["scores"]}
    finalist = Finalist(
        record["config"], number, nothing, nothing, scores, record["temperature"], record["multiply_adds"]
    )
    work = folder.with_name("refit")
    work.mkdir(parents=True, exist_ok=True)
    context.tell("phase", phase="final", detail=f"fitting trial {number} to training and validation images")
    job = final_job(context, number, finalist)
    payload = {**job.payload, "folder": str(work), "log_path": str(work / "log.txt"), "earlier": []}
    fitted = answer_of(context.dispatcher.run_all([replace(job, payload=payload)])[0])
    reads = reads_of_test(context.run)
    context.tell(
        "phase", phase="test", detail=f"the test split is read, for the {_ordinal(len(reads) + 1)} time in this run"
    )
    deliver(context, finalist, fitted, folder.parent, test_reads=reads)
    shutil.rmtree(work)


def reads_of_test(run: Run) -> list[dict[str, Any]]:
    """Every look at the test split that models of a run have had so far, the earliest first."""
    files = [run.model_path / "autotl.json", *run.path.glob(f"trials/*/{MODEL}/autotl.json")]
    reads = [read for file in files if file.exists() for read in read_json(file).get("test_reads", [])]
    distinct = {(read["at"], read["count"]): read for read in reads}
    return [distinct[key] for key in sorted(distinct)]


def _ordinal(count: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(count, f"{count}th")
