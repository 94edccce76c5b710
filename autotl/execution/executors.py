"""Which executors there are: entry points of the group `autotl.executors`, each imported only when it is asked for."""

from collections.abc import Callable
from dataclasses import dataclass

from autotl.entry_points import Kind, load_entry
from autotl.errors import UsageError
from autotl.execution.protocol import Executor

API_VERSION = 1
GROUP = "autotl.executors"


@dataclass(frozen=True)
class Slots:
    """What slots were asked for.

    Attributes:
        jobs: how many jobs at a time; None leaves it to the executor.
        gpus: "all", "none", or positions such as "0,1".
        gpu_share: of a GPU that one slot gets, above 0 and at most 1: 1 is a whole one, and a smaller part is a hard
            cap on the memory of its jobs.
        address: of a cluster, or of a database; None where the executor needs none, or finds one by itself.
        study: the name under which driver and workers meet in a database.
    """

    jobs: int | None = None
    gpus: str = "all"
    gpu_share: float = 1.0
    address: str | None = None
    study: str | None = None


@dataclass(frozen=True)
class ExecutorPlugin:
    """An executor, described without making it.

    Attributes:
        name: under which it is registered.
        open: makes it. It starts no process before the first `warm` or `submit`, and raises `UsageError` when it cannot
            give what was asked for.
        summary: what it is, in one line.
        api_version: of this record.
    """

    name: str
    open: Callable[[Slots], Executor]
    summary: str = ""
    api_version: int = API_VERSION


KIND = Kind("executor", GROUP, ExecutorPlugin, API_VERSION)


def open_executor(name: str, wanted: Slots) -> Executor:
    """Make the executor of that name.

    Raises:
        UsageError: there is no such executor, or it cannot give what was asked for.
        PluginError: the plugin behind it is broken.
    """
    plugin: ExecutorPlugin = load_entry(KIND, name)
    return plugin.open(wanted)


def _open_local(wanted: Slots) -> Executor:
    from autotl.execution.devices import plan_slots
    from autotl.execution.local import LocalExecutor

    _refuse_address("local", wanted)
    return LocalExecutor(plan_slots(wanted.jobs, wanted.gpus, wanted.gpu_share))


def _open_inline(wanted: Slots) -> Executor:
    from autotl.execution.inline import InlineExecutor

    _refuse_address("inline", wanted)
    if wanted.gpus != "all" or wanted.gpu_share != 1.0:
        raise UsageError(
            "The inline executor runs jobs in this process, whose devices are fixed before it starts: "
            f"--gpus {wanted.gpus} and --gpu-share {wanted.gpu_share:g} were given. Set CUDA_VISIBLE_DEVICES for the "
            "whole command (-1 for none), or leave --executor out."
        )
    return InlineExecutor(1 if wanted.jobs is None else wanted.jobs)


def _refuse_address(name: str, wanted: Slots) -> None:
    if wanted.address is not None:
        raise UsageError(
            f"An address is a cluster's, and the {name} executor uses this machine: {wanted.address!r} was given. "
            "Add --executor ray, or leave the address out."
        )


LOCAL = ExecutorPlugin(
    "local", _open_local, "A worker process for each GPU of this machine, share of one, or part of the CPU."
)
INLINE = ExecutorPlugin(
    "inline", _open_inline, "In this process, one job after the other and none stopped early, for debugging."
)
