"""`autotl export`."""

import contextlib
import signal
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from autotl import api
from autotl.cli.live import open_view
from autotl.cli.noise import muted_libraries
from autotl.cli.options import is_verbose, standard_options
from autotl.cli.output import emit, make_table, visible
from autotl.errors import ParityError

if TYPE_CHECKING:
    from rich.console import Console

OK, REJECTED, FAILED = "ok", "rejected", "failed"  # states of api.export


@click.command()
@click.argument("model")
@click.option(
    "--format",
    "formats",
    multiple=True,
    required=True,
    metavar="FORMAT[:PRECISION]",
    help="keras, saved_model, onnx, litert, openvino, those of plugins, or all. May be given several times.",
)
@click.option(
    "--precision", metavar="NAME",
    help="float32, float16 or int8, of the formats that name none.  [default: each one's own]",
)  # fmt: skip
@click.option("--trial", type=click.IntRange(min=1), help="Of the run MODEL: this finished trial, fitted once more.")
@click.option("--pick", metavar="RULE", help="The same by a rule: fastest-within 1pp, smallest-within 2pp or best.")
@click.option("--out", metavar="DIR", help="Where the folders go.  [default: export/ beside the model folder]")
@click.option(
    "--data", "dataset", metavar="DATASET", help="Images to check and calibrate with.  [default: the search's]"
)
@click.option("--no-verify", is_flag=True, help="Do not compare what was written with the model.")
@click.option("--trust", is_flag=True, help="Accept a model that has changed since it was made.")
@click.option("--cache-dir", metavar="DIR", help="Where decoded images are kept.")
@standard_options
def export(
    model: str,
    formats: tuple[str, ...],
    precision: str | None,
    trial: int | None,
    pick: str | None,
    out: str | None,
    dataset: str | None,
    no_verify: bool,
    trust: bool,
    cache_dir: str | None,
    as_json: bool,
) -> int:
    """Write MODEL, a run directory or a model folder, in other formats.

    \b
    Examples:
      autotl export runs/photos-20260101-120000 --format onnx
      autotl export runs/photos-20260101-120000 --format onnx --format litert:int8 --out exported/
      autotl export model/ --format all --data photos/
      autotl export runs/photos-20260101-120000 --pick 'fastest-within 1pp' --format onnx

    Each becomes a folder with the model, a script predict.py that runs it without autotl, and a model card. Each is
    run in a fresh process and compared with MODEL on images of the validation split. One that is too far off is kept as
    *.rejected, and the exit code is 5; it is 1 if one could not be written at all.

    With --trial or --pick the model of another trial is exported (autotl status RUN --pareto shows them). It is made as
    the delivered one was, in RUN/trials/NNNN/model, which reads the test split once more: test_reads counts that.
    """
    if trial is not None or pick is not None:
        with open_view(is_quiet=as_json, metric=None) as on_event:
            model = str(api.refit(model, trial, pick=pick, cache_dir=cache_dir, on_event=on_event))
    with muted_libraries(not is_verbose()), _signals_as_interrupts():
        result = api.export(
            model,
            formats,
            precision=precision,
            out=out,
            dataset=dataset,
            verify=not no_verify,
            trust=trust,
            cache_dir=cache_dir,
            on_progress=lambda words: click.echo(f"{visible(words)} ...", err=True),
        )
    emit(result, as_json, lambda console: _render(console, result))
    return _exit_code(result)


@contextlib.contextmanager
def _signals_as_interrupts() -> Iterator[None]:
    """SIGTERM, and SIGHUP of a terminal that is closed, do what Ctrl-C does: nothing is left behind."""
    taken = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _exit_code(result: Mapping[str, Any]) -> int:
    """Says on stderr what is wrong with which export."""
    for item in result["exports"]:
        if item["problem"] is not None:
            click.echo(visible(f"{item['format']} {item['precision']} {item['state']}: {item['problem']}"), err=True)
    states = {item["state"] for item in result["exports"]}
    return ParityError.exit_code if REJECTED in states else 1 if FAILED in states else 0


def _render(console: "Console", result: Mapping[str, Any]) -> None:
    columns = ("format", "precision", "size>", "max diff>", "same label>", "accuracy (drop)>", "p50/p95 ms>", "state")
    console.print(make_table(columns, [_row(item) for item in result["exports"]]))
    for item in result["left_out"]:
        console.print(visible(f"left out {item['format']}: {item['reason']}"), markup=False, soft_wrap=True)
    parity = next((item["parity"] for item in result["exports"] if item["parity"] is not None), None)
    if parity is not None:
        _print_basis(console, parity)
    for item in result["exports"]:
        if item["folder"] is not None:
            console.print(visible(f"{item['folder']}/{item['file']}"), markup=False, soft_wrap=True)


def _row(item: Mapping[str, Any]) -> tuple[str, ...]:
    parity, latency = item["parity"] or {}, item["latency"]
    validation = parity.get("validation")
    accuracy = ""
    if validation is not None:
        accuracy = f"{validation['accuracy']:.3f} ({validation['accuracy_drop']:+.3f})"
    return (
        item["format"],
        item["precision"],
        "" if item["bytes"] is None else f"{item['bytes'] / 1e6:.2f} MB",
        f"{parity['max_difference']:.1e}" if parity.get("max_difference") is not None else "",
        f"{parity['same_label']:.1%}" if "same_label" in parity else "",
        accuracy,
        "" if latency is None else f"{latency['p50_milliseconds']:.1f} / {latency['p95_milliseconds']:.1f}",
        item["state"],
    )


def _print_basis(console: "Console", parity: Mapping[str, Any]) -> None:
    """What the numbers of the table were measured on."""
    few = "" if parity["n"] >= 64 else " (the validation split has no more)"
    count = parity.get("validation", {}).get("n")
    everything = "" if count is None else f"; all {count} images of the validation split for the accuracy"
    console.print(
        f"Compared with the model on {parity['n']} real images{few}, a black, a white and a noise one, in batches of 1 "
        f"and 3{everything}. Times are of one image on this machine.",
        markup=False,
        soft_wrap=True,
    )
