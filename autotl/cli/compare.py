"""`autotl compare`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from autotl import api
from autotl.cli.live import open_view
from autotl.cli.options import run_options, slot_options, standard_options
from autotl.cli.output import emit, make_table, visible

if TYPE_CHECKING:
    from rich.console import Console

LEVELS = {"frozen": "frozen", "partly": "partly unfrozen", "full": "fully fine-tuned"}
FROM_SCRATCH = "from scratch"


def _words(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in value.split(",") if word.strip())


def _numbers(context: click.Context, parameter: click.Parameter, value: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in _words(context, parameter, value))
    except ValueError:
        raise click.BadParameter(f"numbers with commas between them, like 1e-4,1e-3, not {value!r}") from None


@click.command()
@click.argument("dataset")
@click.option(
    "--backbone",
    "backbones",
    multiple=True,
    required=True,
    metavar="NAME",
    help="A network (repeatable): a name or a path; NAME:random begins with random weights.",
)
@click.option(
    "--weights",
    type=click.Choice(["pretrained", "random"]),
    default="pretrained",
    show_default=True,
    help="Of the networks that do not say it.",
)
@click.option(
    "--level", "levels", default="frozen,partly,full", show_default=True, callback=_words, help="What is trained."
)
@click.option(
    "--image-size", type=click.IntRange(min=1), help="Pixels, for all.  [default: one that suits all, up to 224]"
)
@click.option("--epochs", type=click.IntRange(min=1), default=8, show_default=True, help="Of more than the head.")
@click.option(
    "--rates", default="1e-4,1e-3", show_default=True, callback=_numbers, help="Learning rates that every row tries."
)
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="Fits of every trained row.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same table.")
@slot_options
@run_options
@standard_options
def compare(as_json: bool, quiet: bool, dataset: str, backbones: Sequence[str], **options: Any) -> None:
    """Compare networks on DATASET: frozen, partly unfrozen, fully trained; one protocol, one table.

    \b
    Examples:
      autotl compare photos/ --backbone efficientnet-lite0 --backbone efficientnet-lite2
      autotl compare photos/ --backbone vgg16 --backbone vgg16:random --level frozen,full
      autotl compare sample:clipart --weights random --backbone vgg16 --backbone xception --image-size 96
      autotl compare photos/ --backbone resnet50 --backbone runs/birds-20260101-120000 --seeds 3 --json

    All rows have the same head, images, epochs and rates to choose from, and read the test split once. A row that fails
    says why, and the others go on. Ctrl-C stops in order; the same command with the same --out goes on.
    """
    with open_view(is_quiet=quiet, metric="accuracy") as on_event:
        result = api.compare(dataset, backbones, on_event=on_event, **options)
    emit(result, as_json, lambda console: _render(console, result))


def _render(console: "Console", result: Mapping[str, Any]) -> None:
    columns = (
        "network", "weights", "trained", "accuracy>", "95 %", "", "log-loss>", "fit s>", "trained M>", "all M>",
        "M mult-adds>", "ms>",
    )  # fmt: skip
    console.print(make_table(columns, [_row(row) for row in result["rows"]]))
    lines = [
        "best: the most accurate; = best: these test images cannot tell it from that one. Cost is of one fit and of "
        "one image on this machine.",
        *result["conclusion"],
        *(f"{row['label']} {row['level']}: {row['reason']}" for row in result["rows"] if row["reason"] is not None),
        *result["files"].values(),
    ]
    for line in lines:
        console.print(visible(line), markup=False, soft_wrap=True)


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    head = (row["label"], row["pretrained_on"] or "random", _trained(row))
    if row["state"] != "complete":
        return (*head, "", "", "failed", "", "", "", "", "", "")
    low, high = row["test"]["accuracy_ci95"]
    return (
        *head,
        f"{row['test']['accuracy']:.3f}",
        f"{low:.3f} to {high:.3f}",
        "best" if row["is_best"] else "= best" if row["as_good_as_best"] else "",
        f"{row['test']['log_loss']:.3f}",
        _number(row["fit_seconds"], 1, 1),
        _number(row["trained_parameters"], 1e6, 3),
        _number(row["parameters"], 1e6, 2),
        _number(row["multiply_adds"], 1e6, 0),
        _number(row["milliseconds"], 1, 1),
    )


def _trained(row: Mapping[str, Any]) -> str:
    return FROM_SCRATCH if (row["weights"], row["level"]) == ("random", "full") else LEVELS[row["level"]]


def _number(value: float | None, unit: float, digits: int) -> str:
    return "" if value is None else f"{value / unit:.{digits}f}"
