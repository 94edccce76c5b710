"""The tables of `ablations.py`, computed from the lines of finished searches."""

from collections.abc import Mapping, Sequence
from typing import Any

from intervals import Mean, mean_of, paired_differences
from machine import describe_machine, markdown_table
from variants import FULL

Record = dict[str, Any]
Summary = dict[str, Any]

COLUMNS = (
    "variant",
    "seeds",
    "test accuracy",
    "difference to full",
    "balanced",
    "log-loss",
    "seconds",
    "processor seconds",
    "trials",
    "images forwarded",
    "trained",
    "traces",
    "10^12 multiplications",
    "cost units",
    "rho_alg",
)
COUNTS = ("images_forwarded", "images_trained", "traces")
WORK = ("multiply_adds_forwarded", "multiply_adds_trained")
LEDGER = ("cost_units", "rho_alg", "rho_idle")
TITLES = {"ablations": "What each part buys", "ablations_peers": "Other ways to spend the same time"}


def report(
    records: Sequence[Record], about: Mapping[str, str], name: str, machine: Mapping[str, Any]
) -> tuple[Summary, str]:
    """Everything as JSON and as Markdown; `about` has the variants in order, each with one line."""
    failed = [record for record in records if "error" in record]
    records = [record for record in records if "result" in record]
    datasets = {
        dataset: summarise([record for record in records if record["dataset"] == dataset], list(about))
        for dataset in dict.fromkeys(record["dataset"] for record in records)
    }
    pooled = pool(records, list(about))
    summary = {
        "machine": dict(machine),
        "limits": sorted({limits(record) for record in records}),
        "code": sorted({record["code"] for record in records}),
        "datasets": datasets,
        "all": pooled,
        "failed": failed,
    }
    return summary, render(summary, about, name)


def summarise(records: Sequence[Record], variants: Sequence[str]) -> Summary:
    """One data set: for each variant means and intervals, and the difference to the whole search, seed by seed."""
    accuracies = {variant: by_seed(records, variant) for variant in variants}
    rows: Summary = {}
    for variant in variants:
        mine = [record for record in records if record["variant"] == variant]
        if not mine:
            continue
        rows[variant] = {
            "seeds": sorted(record["seed"] for record in mine),
            "accuracy": as_json(mean_of([record["result"]["test"]["accuracy"] for record in mine])),
            "balanced_accuracy": as_json(mean_of([record["result"]["test"]["balanced_accuracy"] for record in mine])),
            "log_loss": as_json(mean_of([record["result"]["test"]["log_loss"] for record in mine])),
            "seconds": as_json(mean_of([record["wall_seconds"] for record in mine])),
            "processor_seconds": mean_or_none([record.get("processor_seconds") for record in mine]),
            "trials": as_json(mean_of([sum(record["result"]["trials"].values()) for record in mine])),
            "cost": mean_cost([record["result"].get("cost", {}) for record in mine]),
            "counts": mean_cost([record["result"].get("counts", {}) for record in mine]),
            **{name: mean_or_none([record["result"].get("work", {}).get(name) for record in mine]) for name in LEDGER},
            "points": [[record["wall_seconds"], record["result"]["test"]["accuracy"]] for record in mine],
        }
        differences = paired_differences(accuracies[variant], accuracies.get(FULL, {}))
        rows[variant]["difference"] = as_json(mean_of(list(differences.values()))) if differences else None
    return rows


def by_seed(records: Sequence[Record], variant: str) -> dict[Any, float]:
    """Test accuracy of a variant by data set and seed."""
    return {
        (record["dataset"], record["seed"]): record["result"]["test"]["accuracy"]
        for record in records
        if record["variant"] == variant
    }


def pool(records: Sequence[Record], variants: Sequence[str]) -> Summary:
    """Over all data sets: the difference to the whole search, averaged over data sets for each seed, then over seeds.

    A seed counts where all data sets have it: otherwise a hard set that is missing would look like progress.
    """
    datasets = {record["dataset"] for record in records}
    full = by_seed(records, FULL)
    pooled: Summary = {}
    for variant in variants:
        differences = paired_differences(by_seed(records, variant), full)
        seeds = {seed for _, seed in differences if all((dataset, seed) in differences for dataset in datasets)}
        means = [mean_of([differences[dataset, seed] for dataset in sorted(datasets)]).mean for seed in sorted(seeds)]
        if means and variant != FULL:
            pooled[variant] = as_json(mean_of(means))
    return pooled


def render(summary: Summary, about: Mapping[str, str], name: str) -> str:
    """The report in Markdown."""
    codes = len(summary["code"])
    mixed = f" These are results of {codes} states of autotl's code: run again with --fresh." if codes > 1 else ""
    lines = [
        f"# {TITLES[name]}",
        "",
        f"Written by `benchmarks/ablations.py`. Each search had {', or '.join(summary['limits'])}, and its own process "
        "and empty cache. Means over seeds with 95 % intervals (Student); differences are taken seed by seed. A cost "
        "unit is a pass of all images through the chosen network: compare multiplications where the choices differ."
        f"{mixed}",
        "",
        f"On {describe_machine(dict(summary['machine']))}",
        "",
        *(f"- **{variant}**: {what}" for variant, what in about.items()),
    ]
    for dataset, rows in summary["datasets"].items():
        lines += ["", f"## {dataset}", "", markdown_table(COLUMNS, [row(variant, rows[variant]) for variant in rows])]
    if summary["all"] and len(summary["datasets"]) > 1:
        cells = [(variant, text(value, 4, sign=True)) for variant, value in summary["all"].items()]
        lines += ["", "## All data sets", "", markdown_table(("variant", "difference to full, test accuracy"), cells)]
    if summary["failed"]:
        cells = [
            (record["dataset"], record["variant"], record["seed"], record["error"].strip().splitlines()[-1])
            for record in summary["failed"]
        ]
        lines += ["", "## Failed, and in no mean", "", markdown_table(("data set", "variant", "seed", "error"), cells)]
    return "\n".join(lines) + f"\n\n![Accuracy against seconds]({name}.svg)\n"


def row(variant: str, values: Mapping[str, Any]) -> list[str]:
    """One line of a table."""
    counts = values["counts"]
    work = sum(counts.get(name, 0.0) for name in WORK) / 1e12
    return [
        variant,
        str(len(values["seeds"])),
        text(values["accuracy"], 4),
        "" if values["difference"] is None or variant == FULL else text(values["difference"], 4, sign=True),
        text(values["balanced_accuracy"], 4),
        text(values["log_loss"], 4),
        text(values["seconds"], 0),
        "" if values["processor_seconds"] is None else f"{values['processor_seconds']:.0f}",
        text(values["trials"], 0),
        *(f"{counts.get(name, 0):.0f}" for name in COUNTS),
        f"{work:.2f}" if work else "",
        *("" if values[name] is None else f"{values[name]:.2f}" for name in LEDGER[:2]),
    ]


def limits(record: Record) -> str:
    """The limits of a search in words."""
    parts = [f"the wall time {record['budget']}"] if record["budget"] is not None else []
    parts += [f"{record['trials']} trials"] if record["trials"] is not None else []
    return " and ".join(parts) if parts else "the trials of its space"


def as_json(value: Mean) -> dict[str, Any]:
    """A mean as JSON."""
    return {"mean": round(value.mean, 5), "half_width": value.half_width and round(value.half_width, 5), "n": value.n}


def text(value: Mapping[str, Any], digits: int, sign: bool = False) -> str:
    """A mean in a cell."""
    return Mean(value["mean"], value["half_width"], value["n"]).text(digits, sign)


def mean_cost(ledgers: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means of ledgers; what a search does not have counts as zero. Entries that are no numbers are left out."""
    names = dict.fromkeys(
        name for ledger in ledgers for name, value in ledger.items() if isinstance(value, int | float)
    )
    return {name: round(sum(ledger.get(name, 0.0) for ledger in ledgers) / len(ledgers), 3) for name in names}


def mean_or_none(values: Sequence[float | None]) -> float | None:
    """The mean, where every search has the value."""
    known = [value for value in values if value is not None]
    return mean_of(known).mean if known and len(known) == len(values) else None
