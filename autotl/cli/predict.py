"""`autotl predict` and `autotl evaluate`."""

import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from autotl import api
from autotl.cli.noise import muted_libraries
from autotl.cli.output import emit, is_verbose, make_table, standard_options, visible
from autotl.cli.rendering import render_scores

if TYPE_CHECKING:
    from rich.console import Console


@click.command()
@click.argument("model")
@click.argument("paths", nargs=-1, required=True)
@click.option("--top-k", type=click.IntRange(min=1), default=1, show_default=True, help="Classes to name an image.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV: path, label, probability.")
@standard_options
def predict(model: str, paths: tuple[str, ...], top_k: int, as_csv: bool, as_json: bool) -> None:
    """Label images with MODEL, a model folder or a run directory.

    \b
    Examples:
      autotl predict runs/photos-20260101-120000/model cat.jpg
      autotl predict model/ new/ more.zip --top-k 3
      autotl predict model/ new/ --csv > labels.csv

    PATHS are images, folders with images below them, and zips. Files that are no readable image are named on stderr.
    """
    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other.")
    skipped: list[dict[str, str]] = []

    def on_skip(path: str, reason: str) -> None:
        skipped.append({"path": path, "reason": reason})
        click.echo(f"skipped {visible(path)}: {reason}", err=True)

    with muted_libraries(not is_verbose()):
        predictions = api.predict(model, paths, top_k=top_k, on_skip=on_skip)
        if as_csv:
            _write_csv(predictions, top_k)
            return
        labelled = list(predictions)
    result = {"model": model, "predictions": labelled, "skipped": skipped}
    emit(result, as_json, lambda console: _render_predictions(console, labelled, top_k))


@click.command()
@click.argument("model")
@click.argument("dataset")
@click.option(
    "--split",
    type=click.Choice(["test", "val", "train", "all"]),
    default="test",
    show_default=True,
    help="Which images; split as in the search.",
)
@click.option("--cache-dir", metavar="DIR", help="Where decoded images are kept.")
@standard_options
def evaluate(model: str, dataset: str, split: str, cache_dir: str | None, as_json: bool) -> None:
    """Score MODEL (a model folder or a run directory) on DATASET.

    \b
    Examples:
      autotl evaluate runs/photos-20260101-120000/model photos/
      autotl evaluate model/ other-photos/ --split all --json

    On the data of the search, the split is the same, and the test scores are those of the search to the last digit.
    """
    with muted_libraries(not is_verbose()):
        scores = api.evaluate(model, dataset, split=split, cache_dir=cache_dir)
    emit(scores, as_json, lambda console: render_scores(console, scores))


def _write_csv(predictions: Iterator[Mapping[str, Any]], top_k: int) -> None:
    """One row an image, as they come; further classes in columns of their own."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    ranks = ["" if rank == 1 else f"_{rank}" for rank in range(1, top_k + 1)]
    writer.writerow(["path", *(f"{name}{rank}" for rank in ranks for name in ("label", "probability"))])
    for prediction in predictions:
        cells = [cell for item in prediction["top"] for cell in (item["label"], f"{item['probability']:.6f}")]
        writer.writerow([prediction["path"], *cells])


def _render_predictions(console: "Console", predictions: Sequence[Mapping[str, Any]], top_k: int) -> None:
    def others(prediction: Mapping[str, Any]) -> str:
        return ", ".join(f"{item['label']} {item['probability']:.3f}" for item in prediction["top"][1:])

    rows = [
        (item["path"], item["label"], f"{item['probability']:.3f}", *([others(item)] if top_k > 1 else []))
        for item in predictions
    ]
    columns = ("image", "label", "probability>", *(["then"] if top_k > 1 else []))
    console.print(make_table(columns, rows))
