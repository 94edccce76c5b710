"""Running one job's target in this process, and putting a name to what went wrong."""

import errno
import importlib
import json
import traceback
from collections.abc import Callable, Iterator
from typing import Any, cast

from autotl.errors import AutotlError, UsageError
from autotl.execution.protocol import Failed, Finished, Job, Report, Reporter, Target, Terminal

# Keras's backends each have their own way of saying it; none has a type that could be imported here.
OUT_OF_MEMORY_TYPES = frozenset({"ResourceExhaustedError", "OutOfMemoryError"})
OUT_OF_MEMORY_TEXTS = (
    "resource_exhausted",
    "out of memory",
    "out_of_memory",
    "oom when allocating",
    "cannot allocate memory",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "dst tensor is not initialized",  # TensorFlow, where a copy to the device found no room
    "failed to allocate",  # XLA
    "failed to create cudnn handle",
    "unable to find a valid cudnn algorithm",
)
DISK_FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT)
DISK_FULL_TEXTS = ("no space left on device", "disk quota exceeded")  # as C++ and HDF5 pass them on
BROKEN_DEVICE_TEXTS = (
    "cuda_error_",
    "cuda error:",
    "cudnn_status_internal_error",
    "cudnn_status_not_initialized",
    "cublas_status_not_initialized",
    "dnn library initialization failed",
)
WRAPPERS = ("plugin", "runtime")  # kinds of errors that may only pass on what the machine lacked
LONGEST_DETAIL = 20_000  # characters: enough for any traceback, and a message stays small


def run_job(job: Job, report: Reporter) -> Terminal:
    """Import the job's target, run it, and say how it ended. Lets only KeyboardInterrupt through."""
    try:
        result = load_target(job.target)(job.payload, report)
        return Finished(job.id, job.attempt, as_json_object(result))
    except (Exception, SystemExit) as error:
        return failure(job, error)


def make_reporter(job: Job, send: Callable[[Report], None], is_stopped: Callable[[int], bool]) -> Reporter:
    """The `report` function that is given to the job's target; `is_stopped` takes how many reports were sent."""
    count = 0

    def report(step: int, value: float, extra: dict[str, Any]) -> bool:
        nonlocal count
        send(Report(job.id, job.attempt, int(step), float(value), as_json_object(extra)))
        count += 1
        return is_stopped(count)

    return report


def load_target(name: str) -> Target:
    """The function called "module:function".

    Raises:
        UsageError: when the name has another form, or the module has no such function.
        ImportError: when there is no such module.
    """
    module_name, _, function_name = name.partition(":")
    if not module_name or not function_name:
        raise UsageError(f'A target is "module:function": {name!r} is not. Name the function to run.')
    module = importlib.import_module(module_name)
    target = getattr(module, function_name, None)
    if not callable(target):
        raise UsageError(f"A target is a function: module {module_name} has no function {function_name!r}.")
    return cast(Target, target)


def as_json_object(value: Any) -> dict[str, Any]:
    """`value` as it arrives after a trip through JSON.

    Raises:
        TypeError: when it is no dict or holds something JSON cannot, such as a numpy scalar.
    """
    if not isinstance(value, dict):
        raise TypeError(f"what goes in and out of a job is a dict, not {type(value).__name__}")
    return cast(dict[str, Any], json.loads(json.dumps(value)))


def failure(job: Job, error: BaseException) -> Failed:
    """The terminal event for an exception that ended `job`."""
    message = str(error) if isinstance(error, AutotlError) else f"{type(error).__name__}: {error}"
    detail = "".join(traceback.format_exception(error))[-LONGEST_DETAIL:]
    return Failed(job.id, job.attempt, kind_of(error), message, detail)


def kind_of(error: BaseException) -> str:
    """`Failed.kind` for an exception: what autotl raised on purpose names itself; then what the machine lacked, "disk",
    "oom" or (of a GPU that no longer works) "infra"; all the rest is "user".
    """
    if isinstance(error, AutotlError) and error.kind not in WRAPPERS:
        return error.kind
    kinds = (kind for link in _causes(error) if (kind := _lack(link)) is not None)
    return next(kinds, error.kind if isinstance(error, AutotlError) else "user")


def _lack(error: BaseException) -> str | None:
    """What the machine lacked, by one exception of a chain.

    The disk comes first, since TensorFlow calls a full one "resource exhausted" too.
    """
    code = error.errno if isinstance(error, OSError) else None
    text = str(error).lower()
    if code in DISK_FULL_ERRORS or any(phrase in text for phrase in DISK_FULL_TEXTS):
        return "disk"
    if isinstance(error, MemoryError) or code == errno.ENOMEM or type(error).__name__ in OUT_OF_MEMORY_TYPES:
        return "oom"
    if any(phrase in text for phrase in OUT_OF_MEMORY_TEXTS):
        return "oom"
    return "infra" if any(phrase in text for phrase in BROKEN_DEVICE_TEXTS) else None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and what it was raised from; a chain may be a ring."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__
