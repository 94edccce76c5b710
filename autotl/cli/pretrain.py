"""`autotl pretrain`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from autotl import api
from autotl.cli.live import open_view
from autotl.cli.options import run_options, standard_options
from autotl.cli.output import emit, make_table, visible

if TYPE_CHECKING:
    from rich.console import Console

SHOWN_POINTS = 10


@click.command()
@click.argument("dataset")
@click.option("--backbone", required=True, metavar="NAME", help="The network, by name or path.")
@click.option(
    "--init",
    default="random",
    show_default=True,
    metavar="INIT",
    help="random, pretrained, or a run or backbone folder of this network to go on from.",
)
@click.option(
    "--labels",
    type=click.Choice(["given", "none"]),
    default="given",
    show_default=True,
    help="none: learn from the images alone.",
)
@click.option("--method", type=click.Choice(["simsiam", "vicreg"]), help="How, without labels.  [default: vicreg]")
@click.option(
    "--epochs", type=click.IntRange(min=1), help="Passes over the images.  [default: 30, or as --budget allows]"
)
@click.option("--budget", help="Wall time, like 90s, 10m or 1h30m.  [default: no limit]")
@click.option("--image-size", type=click.IntRange(min=1), help="Pixels.  [default: the network's own]")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same network.")
@click.option("--gpus", default="all", show_default=True, help="all, none, or positions like 0,1 of those you may see.")
@run_options
@standard_options
def pretrain(as_json: bool, quiet: bool, dataset: str, backbone: str, **options: Any) -> None:
    """Train a network on the source data set DATASET, to be the backbone of searches on other images.

    \b
    Examples:
      autotl pretrain photos/ --backbone efficientnet-lite0 --image-size 128 --epochs 100 --out runs/photos-net
      autotl pretrain photos/ --backbone efficientnet-lite0 --init pretrained --budget 30m --out runs/photos-net
      autotl pretrain photos/ --backbone efficientnet-lite0 --labels none --out runs/photos-net
      autotl search birds/ --backbone runs/photos-net --backbone efficientnet-lite0

    Without labels, DATASET may also be one folder (or a zip of it) with nothing but images in it.

    The network is scored on the test split of DATASET, which it does not see. Ctrl-C stops in order; the same command
    with the same --out goes on from the last checkpoint.
    """
    with open_view(is_quiet=quiet, metric="accuracy") as on_event:
        result = api.pretrain(dataset, backbone, on_event=on_event, **options)
    emit(result, as_json, lambda console: _render(console, result))


def _render(console: "Console", result: Mapping[str, Any]) -> None:
    curve = result["curve"]
    measures = ("accuracy", "log_loss") if result["labels"] == "given" else ("match", "spread")
    step = -(-len(curve) // SHOWN_POINTS) or 1
    shown = curve[::-1][::step][::-1]  # the last one in any case
    rows = [
        (point["epoch"], f"{point['loss']:.3f}", *(f"{point[measure]:.3f}" for measure in measures)) for point in shown
    ]
    names = (f"held-out {measure.replace('_', '-')}>" for measure in measures)
    console.print(make_table(("epoch>", "loss>", *names), rows))
    lines = [
        f"{_evaluation(result)}, after {result['epochs']} epochs and {result['seconds']:.0f} s",
        *(f"stopped by the budget before epoch {result['planned_epochs']}" for _ in range(_is_cut_short(result))),
        f"backbone: {result['backbone_folder']}",
        f"next: autotl search DATASET --backbone {result['run']}",
    ]
    for line in lines:
        console.print(visible(line), markup=False, soft_wrap=True)


def _is_cut_short(result: Mapping[str, Any]) -> bool:
    return bool(result["epochs"] < result["planned_epochs"])


def _evaluation(result: Mapping[str, Any]) -> str:
    scores = result["scores"]
    if result["labels"] == "none":
        return (
            f"held-out match {scores['match']:.3f}: so many of {scores['n']} images are found by another view of them"
        )
    low, high = scores["accuracy_ci95"]
    interval = f"95 % interval {low:.3f} to {high:.3f}"
    images = f"{scores['n']} images of {result['classes']} classes"
    return f"held-out accuracy {scores['accuracy']:.3f} ({interval}) on {images}"
