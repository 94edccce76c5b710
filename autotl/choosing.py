"""The verbs for whoever wants another trial than the one that a search delivered: `pareto` and `refit`."""

from pathlib import Path
from typing import Any

from autotl.errors import UsageError
from autotl.searches import OnEvent


def pareto(run: str | Path, *, measure: bool = False, on_event: OnEvent | None = None) -> dict[str, Any]:
    """The finished trials that no other one beats in accuracy, latency and size at once: front, missing, ...

    Args:
        run: the run directory.
        measure: networks that the search has not measured are measured now, on this machine, some seconds each.
        on_event: called with each step of progress.

    Raises:
        UsageError: `run` is no run directory; or it is not finished, and something is to be measured.
    """
    from autotl.search.pareto import read_pareto

    return read_pareto(Path(run), (_ignore if on_event is None else on_event) if measure else None)


def refit(
    run: str | Path,
    trial: int | None = None,
    *,
    pick: str | None = None,
    cache_dir: str | Path | None = None,
    on_event: OnEvent | None = None,
) -> Path:
    """Make a model folder of any finished trial: fitted to training and validation images, checked, and tested once.

    Args:
        run: the run directory.
        trial: its number.
        pick: in its place: "best", "fastest-within 1pp" or "smallest-within 2pp" (points of validation accuracy).
        cache_dir: where images and features are; None is where the search had them.
        on_event: called with each step of progress.

    Returns:
        The model folder; one that is there already is not made again.

    Raises:
        UsageError: no run, one that another process drives, or no such trial.
    """
    from autotl.search.pareto import pick as pick_trial
    from autotl.search.refit import refit_trial

    if (trial is None) == (pick is None):
        raise UsageError("A trial is named by its number or picked by a rule: give one of the two.")
    tell = _ignore if on_event is None else on_event
    number = pick_trial(Path(run), pick, tell) if trial is None else trial  # type: ignore[arg-type]
    return refit_trial(Path(run), number, tell, None if cache_dir is None else str(cache_dir))


def _ignore(event: dict[str, Any]) -> None:
    """An `on_event` for those who do not watch."""
