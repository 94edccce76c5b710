"""Options that several commands have, once."""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

VERBOSE = "autotl.verbose"

Command = TypeVar("Command", bound=Callable[..., Any])


def standard_options(command: Command) -> Command:
    """The options of every command."""
    verbose = click.option(
        "-v",
        "--verbose",
        is_flag=True,
        expose_value=False,
        callback=_note_verbose,
        help="Show tracebacks of errors, and what libraries say.",
    )
    as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
    return as_json(verbose(command))


def slot_options(command: Command) -> Command:
    """The options of commands that run trials: how many at a time, and on what."""
    jobs = click.option(
        "--jobs", type=click.IntRange(min=1), help="Trials at a time.  [default: one on each GPU, or one]"
    )
    gpus = click.option(
        "--gpus", default="all", show_default=True, help="all, none, or positions like 0,1 of those you may see."
    )
    share = click.option(
        "--gpu-share",
        type=float,
        default=1.0,
        show_default=True,
        help="Of a GPU each trial gets, its memory capped: 0.5 runs two on each.",
    )
    return jobs(gpus(share(command)))


def is_verbose() -> bool:
    """Whether the running command is to show what is for developers: `-v`, or AUTOTL_DEBUG=1."""
    return bool(click.get_current_context().meta.get(VERBOSE)) or os.environ.get("AUTOTL_DEBUG") == "1"


def _note_verbose(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    context.meta[VERBOSE] = value


def run_options(command: Command) -> Command:
    """The options of commands that make a run: where its jobs run, where it lies, and whether progress is shown."""
    options = (
        click.option(
            "--accept-licence",
            "accept_licences",
            multiple=True,
            metavar="LICENCE",
            help="Consent to weights with this restricting licence (repeatable).",
        ),
        click.option(
            "--executor",
            default="local",
            show_default=True,
            help="Where jobs run: local (processes here), inline (this process, to debug), ray, or a plugin's.",
        ),
        click.option(
            "--out", metavar="DIR", help="The run directory, new or its own.  [default: runs/<dataset>-<time>]"
        ),
        click.option("--cache-dir", metavar="DIR", help="Where decoded images and features are kept."),
        click.option("-q", "--quiet", is_flag=True, help="No progress."),
    )
    for option in reversed(options):
        command = option(command)
    return command
