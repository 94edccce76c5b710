"""A search that has all it needs, from its first job to its result, or to the moment where somebody stops it."""

import contextlib
import errno
import sqlite3
from typing import Any

from autotl.errors import AutotlError
from autotl.execution.protocol import Executor
from autotl.runs.files import read_json
from autotl.search.context import Context
from autotl.search.measuring import keep_to_budget
from autotl.search.nested import run_nested
from autotl.search.plan import allowed_backbones, concrete_config, portfolio
from autotl.search.speeds import measure_speeds
from autotl.space.options import with_defaults, with_options

FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_SHMOPEN)
GRACE_SECONDS = 10.0  # for running jobs to come to an end, or to the end of an epoch, when the search is stopped


def drive(context: Context) -> dict[str, Any]:
    """Run the search under the run's lock. A driver that dies anywhere in here loses at most what its jobs were doing.

    Raises:
        KeyboardInterrupt: it was stopped; its jobs have ended.
        AutotlError: it cannot go on; what has finished is saved.
    """
    context.dispatcher.look = context.look
    context.log_beginning()
    _count_decoding(context)
    try:
        context.forecast = measure_speeds(context)
        keep_to_budget(context)
        if context.request.cv_test is not None:
            return run_nested(context, context.request.cv_test, _run_one)
        return _run_one(context)
    except KeyboardInterrupt:
        _log_end(context, "interrupted", running=sorted(context.dispatcher.running))
        seconds = 0.0 if context.stopping.at_once else GRACE_SECONDS
        if seconds and context.dispatcher.running:
            context.tell("note", message=f"stopping: what runs has {seconds:.0f} s left; stop again to end it at once")
        _end_jobs(context.dispatcher.executor, seconds)
        raise
    except AutotlError as error:
        _log_end(context, "given_up", error=error.kind, message=str(error))
        raise
    except Exception as error:
        if not is_disk_full(error):
            raise
        message = (
            f"A search needs room on the disk of {context.run.path}, and there is none ({error}). What has finished is "
            f"saved: make room, and continue with autotl resume {context.run.path}"
        )
        _log_end(context, "given_up", error=AutotlError.kind, message=message)
        raise AutotlError(message) from error
    finally:
        context.cache.evict()


def _run_one(context: Context) -> dict[str, Any]:
    if not context.finishes:
        _give_head_start(context)
    from autotl.search.rounds import run_rounds  # Optuna and its database take a second or two to load

    return run_rounds(context)


def _give_head_start(context: Context) -> None:
    """Start the first trial while the driver loads Optuna, when it is known already: a whole entry of a portfolio."""
    stage = context.space.stages[0]
    first = [
        with_defaults(values, stage, context.heads)
        for values in portfolio(stage, context.cheapest_first(allowed_backbones(stage, context.backbones)))[:1]
    ]
    if first and set(with_options(stage, context.heads)) <= set(first[0]) and not context.run.study_path.exists():
        job = context.trial_job(stage, 1, concrete_config(stage, first[0], context.backbones, {}))
        if context.past.outcome(job) is None and not context.model_budget.excess(job.payload["config"]):
            context.dispatcher.submit(context.prepare(job), context.dispatcher.free_slots()[0])


def _count_decoding(context: Context) -> None:
    """What the images cost before the first job, in the first driver of the run."""
    if context.run.data_path.exists():  # parts of a nested search have none of their own
        seconds = read_json(context.run.data_path)["seconds"]
        context.costs.add({"decode": seconds})
        context.costs.busy_seconds += seconds


def is_disk_full(error: BaseException) -> bool:
    """Whether an error came from a full disk, or a full quota: of a file, or of the study database."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, OSError) and link.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if isinstance(link, sqlite3.Error) and getattr(link, "sqlite_errorcode", None) in FULL:
            return True
        link = link.__cause__
    return False


def _log_end(context: Context, kind: str, **fields: Any) -> None:
    """The last event of a driver, which may have no room for it."""
    with contextlib.suppress(OSError):
        context.log(kind, **fields)


def _end_jobs(executor: Executor, seconds: float) -> None:
    try:
        executor.shutdown(seconds)
    except KeyboardInterrupt:  # asked a second time
        executor.shutdown(0.0)
