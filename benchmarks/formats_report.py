"""The tables of `formats.py`."""

from typing import Any

from machine import describe_machine, markdown_table

COLUMNS = (
    "format",
    "size, MB",
    "largest difference",
    "mean",
    "same label",
    "accuracy",
    "test",
    "p50, ms",
    "p95, ms",
    "",
)
INTRODUCTION = """# Exported models against the models that they were made of

Written by `benchmarks/formats.py`. Differences are of probabilities, on 64 images of the validation split, a black, a
white and a noise one, in batches of 1 and 3, and on the whole validation split; labels where the two best probabilities
are closer than 1e-3 are not compared. "Accuracy" is that on the validation split and its drop (a delivered model was
trained on these images too), "test" that on the test split. Times are of one image by the `predict.py` beside the file.
Where the machine had other work (its load is given, where it was noted), times say little: compare those of one table.
Networks with random weights know nothing: their rows say whether a format can hold them and what that costs; how near
the smaller precisions come to a trained network of the kind they do not say, so what was rejected here may hold after
training. The noise image can drive them far out, in EfficientNetV2-B0 to 96 standard deviations of what real images
give (a trained Lite1: 4), and rounding errors grow with that, also in float32: its LiteRT file is 1.2e-4 off there, and
8.5e-6 at most on 64 images of the sample. Untrained networks without a noted load had other random heads, from before
this program settled networks on real images.

"""


def make_report(record: dict[str, Any]) -> str:
    """All tables, and on what they were measured."""
    tables = [section(title, row) for title, row in sorted(record["rows"].items())]
    return INTRODUCTION + "\n".join([*tables, f"Measured last on {describe_machine(record['machine'])}"]) + "\n"


def section(title: str, row: dict[str, Any]) -> str:
    """The table of one model, or why there is none."""
    if row["error"] is not None:
        return f"## {title}\n\nNo model: {row['error']}\n"
    load = "" if row["load"] is None else f"\nLoad of the machine before: {row['load']:.1f}.\n"
    return f"## {title}\n\n{markdown_table(COLUMNS, [cells(entry) for entry in row['exports']])}\n{load}"


def cells(entry: dict[str, Any]) -> list[str]:
    """One row: what could not be measured is left empty, and why stands at its end."""
    parity, latency = entry["parity"] or {}, entry["latency"] or {}
    validation = parity.get("validation") or {}
    accuracy = f"{validation['accuracy']:.3f} ({-validation['accuracy_drop']:+.3f})" if validation else ""
    end = entry["state"] if entry["problem"] is None else f"{entry['state']}: {entry['problem']}".replace("|", "\\|")
    return [
        f"{entry['format']} {entry['precision']}",
        shown(entry["bytes"], 1e-6, ".2f"),
        shown(parity.get("max_difference"), 1, ".1e"),
        shown(parity.get("mean_difference"), 1, ".1e"),
        shown(parity.get("same_label"), 100, ".1f"),
        accuracy,
        shown(entry["test"], 1, ".3f"),
        shown(latency.get("p50_milliseconds"), 1, ".1f"),
        shown(latency.get("p95_milliseconds"), 1, ".1f"),
        " ".join(end.split()),
    ]


def shown(value: float | None, scale: float, form: str) -> str:
    """A number for people; nothing where there is none."""
    return "" if value is None else format(value * scale, form)
