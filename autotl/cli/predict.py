"""`autotl predict` and `autotl evaluate`."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from autotl import api
from autotl.cli.live import open_progress
from autotl.cli.noise import muted_libraries
from autotl.cli.options import is_verbose, standard_options
from autotl.cli.output import emit, visible, write_json
from autotl.cli.predictions import Prediction, counted, write_csv, write_line, write_lines, write_tables
from autotl.cli.rendering import render_scores
from autotl.cli.words import metric_name
from autotl.errors import DataError

if TYPE_CHECKING:
    from rich.console import Console

trust_option = click.option("--trust", is_flag=True, help="Accept a model that has changed since it was made.")


@click.command()
@click.argument("model")
@click.argument("paths", nargs=-1, required=True)
@click.option("--top-k", type=click.IntRange(min=1), default=1, show_default=True, help="Classes to name an image.")
@click.option("--threshold", type=click.FloatRange(0, 1), help='Below this probability the label is "unknown".')
@click.option("--ood", is_flag=True, help="Say how unlike the training images each image is.")
@click.option("--output", type=click.Choice(["table", "csv", "jsonl"]), help="How to print.  [default: table]")
@click.option("--csv", "as_csv", is_flag=True, help="The same as --output csv.")
@trust_option
@standard_options
def predict(
    model: str,
    paths: tuple[str, ...],
    top_k: int,
    threshold: float | None,
    ood: bool,
    output: str | None,
    as_csv: bool,
    trust: bool,
    as_json: bool,
) -> None:
    """Label images with MODEL: a model folder, an exported folder or a run directory.

    \b
    Examples:
      autotl predict runs/photos-20260101-120000/model cat.jpg
      autotl predict model/ new/ more.zip --top-k 3
      autotl predict export/onnx-float32/ new/ --threshold 0.8 --output csv > labels.csv
      find new/ -name '*.jpg' -print0 | autotl predict model/ - --output jsonl

    PATHS are images, folders with images below them, and zips; - stands for a list of them on stdin, one a line or
    separated by NUL. Files that are no readable image are named on stderr. Exit code 3 when there is no other.

    CSV and JSON lines (one object an image) come as they are made, from however many images. With --threshold there
    is a column or key "known", which tells images that are none of the classes from a class called "unknown".

    With --ood each image gets its distance from the training images and the percentile of that among unseen images of
    the search: tables mark those from the 95th on with !, from the 99th on with !!. It needs the model folder.
    """
    chosen = _one_output(output, as_csv, as_json)
    inputs = _with_stdin(paths)
    skipped: list[dict[str, str]] = []
    tally: Counter[str] = Counter()

    def on_skip(path: str, reason: str) -> None:
        tally["skipped"] += 1
        # Not click.echo, which would write into the line of the counter.
        print(f"skipped {visible(path)}: {visible(reason)}", file=sys.stderr)
        if chosen == "jsonl":
            write_line({"path": path, "skipped": reason})
        elif chosen == "json":
            skipped.append({"path": path, "reason": reason})

    with muted_libraries(not is_verbose()):
        found = api.predict(model, inputs, top_k=top_k, threshold=threshold, on_skip=on_skip, trust=trust, ood=ood)
        predictions = _tallied(found, tally)
        if chosen == "json":
            result = {"model": model, "predictions": list(counted(predictions)), "skipped": skipped}
            _refuse_nothing(tally)
            write_json(result)
        elif chosen == "table":
            write_tables(predictions)
        else:
            _stream(predictions, write_csv if chosen == "csv" else write_lines)
    _refuse_nothing(tally)
    click.echo(_summary(tally), err=True)


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
@trust_option
@standard_options
def evaluate(model: str, dataset: str, split: str, cache_dir: str | None, trust: bool, as_json: bool) -> None:
    """Score MODEL (a model folder, an exported folder or a run directory) on DATASET.

    \b
    Examples:
      autotl evaluate runs/photos-20260101-120000/model photos/
      autotl evaluate export/onnx-int8/ photos/
      autotl evaluate model/ other-photos/ --split all --json

    On the data of the search, the split is the same, and the test scores are those of the search: to the last digit
    with the model folder, and with exported ones as near as their format is.
    """
    with muted_libraries(not is_verbose()), open_progress("reading and scoring images") as on_progress:
        scores = api.evaluate(model, dataset, split=split, cache_dir=cache_dir, trust=trust, on_progress=on_progress)
    emit(scores, as_json, lambda console: _render_scores(console, scores))


def _one_output(output: str | None, as_csv: bool, as_json: bool) -> str:
    wishes = {output, "csv" if as_csv else None, "json" if as_json else None} - {None}
    if len(wishes) > 1:
        raise click.UsageError("--output, --csv and --json exclude each other.")
    return str(*wishes) if wishes else "table"


def _with_stdin(paths: Iterable[str]) -> list[Any]:
    """The paths, with stdin in the place of `-`."""
    given = [sys.stdin.buffer if path == "-" else path for path in paths]
    if sum(not isinstance(item, str) for item in given) > 1:
        raise click.UsageError("There is one list on stdin: give - once. A file of this name is ./-")
    return given


def _tallied(predictions: Iterable[Prediction], tally: Counter[str]) -> Iterator[Prediction]:
    for prediction in predictions:
        tally["labelled"] += 1
        tally["unknown"] += not prediction.get("known", True)
        yield prediction


def _stream(predictions: Iterable[Prediction], write: Callable[[Iterable[Prediction]], None]) -> None:
    """Rows in a terminal show by themselves how far it is; a counter would stand between them."""
    if sys.stdout.isatty():
        write(predictions)
        return
    with closing(counted(predictions)) as shown:
        write(shown)


def _refuse_nothing(tally: Counter[str]) -> None:
    if not tally["labelled"]:
        why = "those given are not, for the reasons above" if tally["skipped"] else "no file was found"
        raise DataError(f"At least one file must be a readable image; {why}. Give images, or folders or zips of them.")


def _summary(tally: Counter[str]) -> str:
    unknown = f" ({tally['unknown']} unknown)" if tally["unknown"] else ""
    return f"labelled: {tally['labelled']}{unknown}, skipped: {tally['skipped']}"


def _render_scores(console: "Console", scores: Mapping[str, Any]) -> None:
    render_scores(console, scores)
    if scores["seen"]:
        seen = f"{scores['seen']} of the {scores['n']} images are among those that the model was fitted to"
        console.print(f"{seen}: these scores flatter it.", markup=False, soft_wrap=True)
    if scores["difference"] and not scores["reproduced"]:
        changes = ", ".join(
            f"{metric_name(name)} {scores['recorded'][name]:.4f} (here {f'{change:+.2g}' if change else 'the same'})"
            for name, change in scores["difference"].items()
        )
        console.print(f"The search's own test of its Keras model found {changes}.", markup=False, soft_wrap=True)
