"""Results on stdout: as one JSON object, or as tables and words for people."""

import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PIPED_WIDTH = 10_000  # no line of a table is broken or cut when a program reads it


def emit(result: Mapping[str, Any], as_json: bool, render: "Callable[[Console], None]") -> None:
    """Print a result: JSON for programs, else what `render` draws."""
    if as_json:
        write_json(result)
        return
    console = open_console()
    if console.is_terminal:
        render(console)
        return
    with console.capture() as captured:
        render(console)
    for line in captured.get().splitlines():  # tables fill their lines up with spaces, which nobody wants in a file
        sys.stdout.write(line.rstrip() + "\n")


def write_json(result: Mapping[str, Any]) -> None:
    """One object; numbers that are not finite become null, since JSON has none."""
    sys.stdout.write(json.dumps(_finite(result), indent=2, allow_nan=False) + "\n")


def open_console(stderr: bool = False) -> "Console":
    """A rich console that writes to stdout or stderr; NO_COLOR is honoured by rich."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else PIPED_WIDTH
    return Console(stderr=stderr, width=width, highlight=False, soft_wrap=False)


def make_table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> "Table":
    """A plain table; columns whose name ends in `>` are right-aligned. Texts are shown as they are, never as markup."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        is_number = column.endswith(">")
        table.add_column(column.rstrip(">"), justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else escape(visible(cell)) for cell in row))
    return table


def visible(text: object) -> str:
    """A text from user data without control characters, which could move the cursor or recolour the terminal."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(text))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
