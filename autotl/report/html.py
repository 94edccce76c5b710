"""Writes `report.html`: one file without scripts or outside references, to be opened anywhere and sent around."""

from importlib.resources import files
from pathlib import Path
from typing import Any

from autotl.report import data_tables, plots, tables
from autotl.report.record import RunRecord, mapping_or_empty, number_or_none, read_record
from autotl.runs.files import write_text

_MATRIX_CLASSES = 30  # more columns than this cannot be read; the most frequent confusions can
_FIRST_TRIALS = 12


def write_report(run_path: Path) -> Path:
    """Renders the report of a run, finished or not; sections whose files are missing are left out.

    Returns:
        The path of `report.html`.

    Raises:
        UsageError: `run_path` is no run directory.
    """
    record = read_record(Path(run_path))
    write_text(record.run.report_path, render(record))
    return record.run.report_path


def render(record: RunRecord) -> str:
    """The page as text."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    # Names of classes and files are the user's: everything is escaped but our own drawings and style sheet.
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(percent=_percent, number=_number, duration=tables.duration)
    template = environment.from_string(_resource("report.html.j2"))
    drawings = {
        "history": plots.history(record),
        "curves": plots.learning_curves(record),
        "reliability": plots.reliability(record),
    }
    figures = {name: None if svg is None else Markup(svg) for name, svg in drawings.items()}
    page = template.render(**_context(record), figures=figures, style=Markup(_resource("report.css")))
    return page.encode("utf-8", "replace").decode("utf-8")  # a file name that is no UTF-8 comes as lone surrogates


def _context(record: RunRecord) -> dict[str, Any]:
    test = {**mapping_or_empty(record.result.get("test")), **mapping_or_empty(record.model.get("test"))}
    validation = {
        **mapping_or_empty(record.model.get("validation")),
        **mapping_or_empty(record.result.get("validation")),
    }
    names = [str(name) for name in record.model.get("class_names", [])]
    trials = tables.leaderboard(record)
    best = mapping_or_empty(record.result.get("best") or record.model.get("configuration"))
    members = [str(mapping_or_empty(member).get("backbone")) for member in record.result.get("members", [])]
    states = [trial.state for trial in record.trials]
    return {
        "title": record.dataset,
        "test": test,
        "validation": validation,
        "metric": tables.METRIC_NAMES.get(record.metric, record.metric),
        "best": tables.configuration({**best, "backbone": " + ".join(members)} if members else best),
        "best_number": _best_number(record, trials),
        "evaluations": len({trial.evaluation for trial in record.trials}),
        "trials": trials,
        "shown": _FIRST_TRIALS,
        "states": {state: states.count(state) for state in dict.fromkeys(states)},
        "costs": tables.cost(record),
        "seconds": number_or_none(record.result.get("seconds")),
        "per_class": tables.per_class(test),
        "calibration": tables.calibration(test),
        "confusion": tables.confusion(test, names) if len(names) <= _MATRIX_CLASSES else [],
        "confusions": test.get("confusions", []),
        "counts": data_tables.class_counts(record),
        "data_facts": data_tables.facts(record),
        "findings": data_tables.findings(record),
        "licences": tables.licences(record),
        "model": record.model,
        "created": str(record.model.get("created", ""))[:10],
        "command": tables.command(record),
    }


def _best_number(record: RunRecord, trials: list[dict[str, Any]]) -> Any:
    """The trial that was chosen, or while there is none, the one that leads."""
    chosen = mapping_or_empty(record.result.get("best")).get("trial")
    if chosen is not None:
        return chosen
    complete = [row["number"] for row in trials if row["state"] == "complete" and row["score"] is not None]
    return complete[0] if complete else None


def _resource(name: str) -> str:
    return files("autotl.report").joinpath(name).read_text(encoding="utf-8")


def _percent(value: Any, digits: int = 1) -> str:
    number = number_or_none(value)
    return "–" if number is None else f"{100 * number:.{digits}f} %"


def _number(value: Any, digits: int = 3) -> str:
    number = number_or_none(value)
    return "–" if number is None else f"{number:.{digits}f}"
