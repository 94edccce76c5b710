"""`autotl gain`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from autotl import api
from autotl.cli.live import open_view
from autotl.cli.options import run_options, slot_options, standard_options
from autotl.cli.output import emit, make_table, visible

if TYPE_CHECKING:
    from rich.console import Console

ARMS = ("frozen", "tuned", "scratch", "random")
NOTE = (
    "frozen: pretrained, a linear head on its features. tuned: pretrained, all of it trained. scratch: random weights, "
    "all of it trained. random: a linear head on the features of random weights."
)


def _numbers(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in value.split(",") if word.strip())
    except ValueError:
        raise click.BadParameter(f"whole numbers with commas between them, like 1,5,10, not {value!r}") from None


@click.command()
@click.argument("dataset", required=False)
@click.option("--run", metavar="RUN", help="A finished search, whose network (and images) are measured.")
@click.option("--backbone", metavar="NAME", help="A network: a name or a path.  [default: the first that is ready]")
@click.option("--image-size", type=click.IntRange(min=1), help="Pixels.  [default: the run's, or the network's own]")
@click.option(
    "--per-class", default="1,5,10,25,100", show_default=True, callback=_numbers, help="Images per class of the tiers."
)
@click.option("--draws", type=click.IntRange(min=1), default=3, show_default=True, help="Of every small tier.")
@click.option(
    "--epochs", type=click.IntRange(min=1), default=8, show_default=True, help="With all images; more with fewer."
)
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same result.")
@slot_options
@run_options
@standard_options
def gain(as_json: bool, quiet: bool, dataset: str | None, **options: Any) -> None:
    """Measure on DATASET what transfer is worth: the labels and the time that it saves, or the harm that it does.

    \b
    Examples:
      autotl gain photos/
      autotl gain --run runs/photos-20260101-120000
      autotl gain photos/ --backbone efficientnet-lite0 --image-size 128 --epochs 20
      autotl gain sample:clipart --per-class 1,5,10 --draws 5 --json

    The pretrained network, frozen and trained, against the same network from scratch and against random features: with
    the same images, few and many, and equal tuning. Read by equal epochs and by equal seconds. Ctrl-C stops in order;
    the same command with the same --out goes on.
    """
    with open_view(is_quiet=quiet, metric="accuracy") as on_event:
        result = api.gain(dataset, on_event=on_event, **options)
    emit(result, as_json, lambda console: _render(console, result))


def _render(console: "Console", result: Mapping[str, Any]) -> None:
    columns = ("labels per class>", "images>", "draws>", "epochs>", *(f"{name}>" for name in ARMS))
    console.print(make_table(columns, [_row(tier) for tier in result["tiers"]]))
    lines: Sequence[str] = (
        f"{result['label']} at {result['image_size']} px, pretrained on {result['pretrained_on']}; accuracy on "
        f"{result['images']['test']} test images, with 95 % intervals. {NOTE}",
        *result["conclusion"],
        *result["files"].values(),
    )
    for line in lines:
        console.print(visible(line), markup=False, soft_wrap=True)


def _row(tier: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        "all" if tier["per_class"] is None else str(tier["per_class"]),
        str(tier["images"]),
        str(tier["draws"]),
        str(tier["epochs"]),
        *(_accuracy(tier["arms"][name]) for name in ARMS),
    )


def _accuracy(found: Mapping[str, Any]) -> str:
    low, high = found["accuracy_ci95"]
    return f"{found['accuracy']:.3f} ({low:.2f}-{high:.2f})"
