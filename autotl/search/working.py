"""Computing jobs of a search that another machine drives."""

from collections.abc import Callable
from pathlib import Path
from socket import gethostname
from time import monotonic
from typing import Any

from autotl.errors import Interrupted
from autotl.execution.devices import plan_slots
from autotl.execution.shared_worker import Service, serve
from autotl.search.stopping import Stopping


def run_worker(
    storage: str,
    study: str,
    slots: tuple[int | None, str, float],
    cache_dir: str | Path | None,
    wait_seconds: float,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Work for the driver of a study until it ends; see `autotl.searches.worker`.

    Args:
        storage: the URL of the database.
        study: the name of the search there.
        slots: what `plan_slots` takes: how many, on which GPUs, and the share of one.
        cache_dir: where stores go on this machine; None leaves them where the driver has them.
        wait_seconds: for a driver.
        tell: is told in words what happens.
    """
    started, stopping = monotonic(), Stopping()
    plans = plan_slots(*slots)
    root = None if cache_dir is None else Path(cache_dir).expanduser().resolve()
    try:
        with stopping.listening():
            tally = serve(Service(storage, study, plans, wait_seconds, root, tell, stopping.look))
    except KeyboardInterrupt:
        raise Interrupted("Stopped; what was running runs again elsewhere.") from None
    jobs = {"finished": tally.finished, "failed": tally.failed}
    return {"study": study, "host": gethostname(), "jobs": jobs, "seconds": monotonic() - started}
