"""What models cost, in words: the table of `autotl status --pareto`, and whether budgets were kept."""

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autotl.cli.export import OK, REJECTED
from autotl.cli.output import make_table
from autotl.cli.words import brief
from autotl.errors import AutotlError, ParityError
from autotl.references import short_name

if TYPE_CHECKING:
    from rich.table import Table


def pareto_table(found: Mapping[str, Any]) -> "Table":
    """The trials that no other one beats, by falling accuracy."""
    rows = [
        (
            row["number"], f"{row['accuracy']:.3f}", _milliseconds(row["p50_milliseconds"]), _megabytes(row["bytes"]),
            "all" if row["images"] is None else row["images"], "delivered" if row["delivered"] else "",
            brief(row["config"]),
        )
        for row in found["front"]
    ]  # fmt: skip
    columns = ("trial>", "accuracy>", "ms>", "MB>", "images>", "", "configuration")
    return make_table(columns, rows)


def pareto_lines(found: Mapping[str, Any]) -> list[str]:
    """What the table cannot say."""
    run = shlex.quote(found["run"])
    if not found["front"]:
        return ["No trial is finished yet."]
    how = "in Keras" if found["deploy"] is None else f"as {found['deploy']}"
    lines = [
        f"Accuracy is that of validation; milliseconds (median) and bytes {how}, one image at a time. "
        f"{found['dominated']} more finished trial{'s are' if found['dominated'] != 1 else ' is'} beaten by these."
    ]
    if found["missing"]:
        names = ", ".join(f"{short_name(one['backbone'])} at {one['image_size']} px" for one in found["missing"])
        lines.append(f"Not measured: {names}. Measure here: autotl status {run} --pareto --measure")
    return [*lines, f"Next:  autotl export {run} --trial N, or --pick 'fastest-within 1pp'"]


def budget_lines(result: Mapping[str, Any]) -> list[str]:
    """What became of the budgets of a delivered model, and where its export is."""
    budgets, export = result.get("budgets", {}), result.get("export")
    lines = []
    for name, show in (("latency", _milliseconds), ("size", _megabytes)):
        if name in budgets:
            unit, kept = "ms" if name == "latency" else "MB", budgets[name]
            verdict = "holds" if kept["holds"] else "DOES NOT HOLD"
            figures = f"{show(kept['measured'])} {unit} of {show(kept['budget'])} {unit}"
            lines.append(f"{name} budget: {figures}, {verdict} ({budgets['format']})")
    if export is not None:
        where = export["problem"] if export["folder"] is None else export["folder"]
        lines.append(f"export: {export['format']} {export['precision']}, {export['state']}: {where}")
    return lines


def broken_promise(result: Mapping[str, Any]) -> tuple[str, int] | None:
    """What a finished search was asked for and did not come to, in words, and the exit code for it."""
    export = result.get("export")
    if export is not None and export["state"] != OK:
        code = (ParityError if export["state"] == REJECTED else AutotlError).exit_code
        return f"the model could not be deployed as {export['format']}: {export['problem']}", code
    broken = [name for name in ("latency", "size") if not result.get("budgets", {}).get(name, {"holds": True})["holds"]]
    if not broken:
        return None
    return f"the delivered model was measured to break its budget of {' and '.join(broken)}", AutotlError.exit_code


def _milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _megabytes(count: float | None) -> str:
    return "" if count is None else f"{count / 1e6:.2f}"
