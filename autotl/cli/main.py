"""The door of the command line: a lazy table of commands, and what becomes of errors.

`autotl --help` reads the table alone; a command's module is imported when the command runs.
"""

import importlib
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from io import TextIOWrapper
from itertools import takewhile
from typing import NoReturn

import click

from autotl import __version__
from autotl.cli.failures import fail

COMMANDS: Mapping[str, tuple[str, str]] = {
    "search": ("autotl.cli.search:search", "Search for the best model for labelled images."),
    "resume": ("autotl.cli.search:resume", "Go on with a search that was stopped."),
    "worker": ("autotl.cli.worker:worker", "Compute for a search that runs on another machine."),
    "stop": ("autotl.cli.stop:stop", "Stop a search that runs, so that it can go on later."),
    "status": ("autotl.cli.status:status", "Show what a run has come to."),
    "report": ("autotl.cli.status:report", "Write the HTML report of a run."),
    "predict": ("autotl.cli.predict:predict", "Label images with a model."),
    "evaluate": ("autotl.cli.predict:evaluate", "Score a model on labelled images."),
    "export": ("autotl.cli.export:export", "Write a model in other formats, checked."),
    "gain": ("autotl.cli.gain:gain", "Measure what transfer is worth."),
    "compare": ("autotl.cli.compare:compare", "Compare networks under one protocol."),
    "pretrain": ("autotl.cli.pretrain:pretrain", "Make a backbone of a source data set."),
    "data": ("autotl.cli.data:data", "Check a data set."),
    "backbones": ("autotl.cli.backbones:backbones", "List and show pretrained networks."),
    "plugins": ("autotl.cli.plugins:plugins", "List, check and write plugins."),
    "spaces": ("autotl.cli.spaces:spaces", "List and show search spaces."),
    "doctor": ("autotl.cli.doctor:doctor", "See whether this machine is ready."),
}


class LazyGroup(click.Group):
    """A group that knows its commands from a table and imports the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.exceptions.NoSuchCommand(args[0], possibilities=list(COMMANDS), ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, package_name="autotl", message="autotl %(version)s")
def cli() -> None:
    """Search for the best image classifier that transfer learning can give you.

    \b
    Examples:
      autotl search sample:clipart          a first search, on images that ship with autotl
      autotl search photos/ --budget 10m    photos/ holds a folder for each class
      autotl predict runs/photos-.../model new/*.jpg
      autotl COMMAND --help
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with the code that its outcome has."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    flags = set(takewhile(lambda word: word != "--", given))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # names of files need not fit the terminal's encoding
            stream.reconfigure(errors="backslashreplace")
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of damaged EXIF, say: files that cannot be read are named
    try:
        code = cli.main(given, prog_name="autotl", standalone_mode=False)
        sys.stdout.flush()
    except BaseException as error:
        shows_traceback = bool({"-v", "--verbose"} & flags) or os.environ.get("AUTOTL_DEBUG") == "1"
        sys.exit(fail(error, as_json="--json" in flags, shows_traceback=shows_traceback))
    sys.exit(code if isinstance(code, int) else 0)
