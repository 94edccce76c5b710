"""Predictions as they come: tables for people, CSV and JSON lines for programs, a counter for whoever waits."""

import csv
import io
import json
import re
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from functools import partial
from io import TextIOWrapper
from itertools import count, islice
from typing import TYPE_CHECKING, Any

from autotl.cli.output import emit, make_table, open_console, visible

if TYPE_CHECKING:
    from rich.console import Console

Prediction = Mapping[str, Any]
PAGE_ROWS = 1000  # a table needs its rows before it knows how wide it is; after so many comes the next one
UNUSUAL, VERY_UNUSUAL = 95.0, 99.0  # percentiles that tables mark
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_NO_BYTES = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # surrogates that stand for no byte of a file's name


def write_tables(predictions: Iterator[Prediction]) -> None:
    """A table, and another one after every `PAGE_ROWS` rows."""
    for start in count(0, PAGE_ROWS):
        page = list(counted(islice(predictions, PAGE_ROWS), start))
        if page:
            emit({}, False, partial(_render, page))
        if len(page) < PAGE_ROWS:
            return


def write_csv(predictions: Iterable[Prediction]) -> None:
    """One row an image as they come; further classes in columns of their own.

    In a file or a pipe it is UTF-8, with names as the bytes that they are: what an export's `predict.py` writes.
    """
    shown: Callable[[str], str] = visible
    if not sys.stdout.isatty():
        shown = partial(_NO_BYTES.sub, "\N{REPLACEMENT CHARACTER}")
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    for number, prediction in enumerate(predictions):
        if number == 0:
            sys.stdout.write(csv_line(_csv_columns(prediction)))
        sys.stdout.write(csv_line([shown(cell) for cell in _csv_cells(prediction)]))
        sys.stdout.flush()


def write_lines(predictions: Iterable[Prediction]) -> None:
    """One JSON object a line, as they come."""
    for prediction in predictions:
        write_line(prediction)


def write_line(values: Mapping[str, Any]) -> None:
    """One JSON object on a line of its own, at once: whoever reads may wait for it."""
    sys.stdout.write(json.dumps(values, allow_nan=False) + "\n")
    sys.stdout.flush()


def counted(predictions: Iterable[Prediction], already: int = 0) -> Generator[Prediction]:
    """The same predictions, while a counter in the terminal shows how many there were."""
    from rich.progress import Progress, SpinnerColumn, TimeElapsedColumn

    console = open_console(stderr=True)
    columns = (SpinnerColumn(), "{task.completed} images labelled", TimeElapsedColumn())
    is_hidden = not console.is_terminal
    # rich would send what is written to stdout meanwhile to its own console, which is stderr.
    with Progress(*columns, console=console, transient=True, redirect_stdout=False, disable=is_hidden) as progress:
        task = progress.add_task("", total=None, completed=already)
        for prediction in predictions:
            yield prediction
            progress.advance(task)


def csv_line(cells: Iterable[str]) -> str:
    """Texts as a row of CSV in which no spreadsheet finds a formula: such a one gets an apostrophe before it.

    Source: https://owasp.org/www-community/attacks/CSV_Injection
    """
    line = io.StringIO()
    # Ended by CR LF and not by LF: the writer quotes what it ends rows with, and a CR in a name would end one.
    csv.writer(line, lineterminator="\r\n").writerow(
        f"'{cell}" if cell.startswith(_FORMULA_STARTS) else cell for cell in cells
    )
    return line.getvalue().removesuffix("\r\n") + "\n"


def _csv_columns(prediction: Prediction) -> list[str]:
    known = ["known"] if "known" in prediction else []
    ranks = range(2, len(prediction["top"]) + 1)
    others = [f"{name}_{rank}" for rank in ranks for name in ("label", "probability")]
    scores = ["ood_score", "ood_percentile"] if "ood" in prediction else []
    return ["path", "label", "probability", *known, *others, *scores]


def _csv_cells(prediction: Prediction) -> list[str]:
    known = [str(prediction["known"]).lower()] if "known" in prediction else []
    others = [cell for item in prediction["top"][1:] for cell in (item["label"], f"{item['probability']:.6f}")]
    ood = prediction.get("ood")
    scores = [] if ood is None else [f"{ood['score']:.6f}", f"{ood['percentile']:.1f}"]
    return [prediction["path"], prediction["label"], f"{prediction['probability']:.6f}", *known, *others, *scores]


def _render(page: Sequence[Prediction], console: "Console") -> None:
    columns: dict[str, Callable[[Prediction], str]] = {
        "image": lambda item: item["path"],
        "label": lambda item: item["label"],
        "probability>": lambda item: f"{item['probability']:.3f}",
    }
    if "ood" in page[0]:
        columns["unlike training>"] = _unlike
    if "known" in page[0] or len(page[0]["top"]) > 1:
        columns["then"] = _others
    console.print(make_table(list(columns), [[show(item) for show in columns.values()] for item in page]))


def _unlike(prediction: Prediction) -> str:
    """Percentile of the distance from the training images."""
    percentile = prediction["ood"]["percentile"]
    mark = "!!" if percentile >= VERY_UNUSUAL else "!" if percentile >= UNUSUAL else ""
    return f"{percentile:.0f} %{mark:<2}"


def _others(prediction: Prediction) -> str:
    """The classes that are not named in the column of the label: of an unknown image, all of them."""
    others = prediction["top"][1 if prediction.get("known", True) else 0 :]
    return ", ".join(f"{item['label']} {item['probability']:.3f}" for item in others)
