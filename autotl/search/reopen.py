"""A run that is worked on after its search: its records, its images and one worker, without a trial more."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from autotl.data.manifest import Manifest
from autotl.errors import Interrupted, UsageError
from autotl.runs.directory import open_search
from autotl.runs.files import read_json
from autotl.runs.locking import lock_run
from autotl.search.context import Context, OnEvent, Plugins
from autotl.search.dispatch import Dispatcher
from autotl.search.frozen import thaw
from autotl.search.heads import resolve_heads
from autotl.search.loop import cache_of, equipped, open_space, slots_of
from autotl.search.request import read_request
from autotl.search.stopping import Stopping


@contextmanager
def reopened(path: Path, on_event: OnEvent, cache_dir: str | None = None, executor: str = "local") -> Iterator[Context]:
    """Be the run's only writer for the length of a `with` block; what its jobs do is not in the log of the search.

    Args:
        path: the run directory.
        on_event: told of progress.
        cache_dir: where images and features are; None is where the search had them.
        executor: where jobs run, one at a time.

    Raises:
        UsageError: no run, one that is driven, or one whose plugins have changed.
    """
    run = open_search(path)
    stopping = Stopping()
    with stopping.listening(), lock_run(run):
        if not run.manifest_path.exists():
            raise UsageError(f"{run.path} has no trials yet: its search was stopped before the first. Search first.")
        asked = read_request(read_json(run.request_path))
        place = {"jobs": 1, "executor": executor, "executor_address": None, "study": None, "gpu_share": 1.0}
        request = replace(asked, **place, cache_dir=asked.cache_dir if cache_dir is None else cache_dir)  # type: ignore[arg-type]
        space, backbones = open_space(request, str(run.space_path), on_event, thaw(run))
        plugins, cache = Plugins(backbones, resolve_heads(space)), cache_of(request)
        try:
            with equipped(request.executor, slots_of(request), stopping) as slots:
                dispatcher = Dispatcher(slots, _silent, look=stopping.look)
                yield Context(
                    request, space, plugins, Manifest.read(run.manifest_path), cache, run, dispatcher, on_event
                )
        except KeyboardInterrupt:
            raise Interrupted("Stopped; nothing of the run has changed.") from None


def _silent(kind: str, **fields: Any) -> None:
    """An event log for work that is no part of the search."""
