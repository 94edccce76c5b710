"""The live picture of a search, drawn from a `Progress` with rich. Everything that may be user data is escaped."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from autotl.cli.live import first_line
from autotl.cli.output import visible
from autotl.cli.progress import Progress
from autotl.cli.words import brief, duration, metric_name, score

BAR_WIDTH = 40
_STYLES = {"complete": "green", "pruned": "yellow", "failed": "red"}


def draw(state: Progress, now: float, metric: str | None) -> RenderableType:
    """The picture at a moment."""
    parts: list[RenderableType] = [_headline(state, now), _bar(state, now)]
    if state.best is not None:
        parts.append(_best_line(state.best, metric))
    if state.recent:
        parts.append(_trials(state, metric))
    for number, step, value in state.running:
        parts.append(Text(f"trial {number}, step {step}: {score(value)}", style="dim"))
    if state.note:
        parts.append(Text(visible(state.note), style="dim"))
    return Group(*parts)


def _headline(state: Progress, now: float) -> Text:
    line = Text.assemble((visible(state.phase), "bold cyan"), "  ", visible(state.detail))
    line.append(f"  {duration(now - state.started)}", style="dim")
    if state.eta is not None and state.eta > now:
        line.append(f", about {duration(state.eta - now)} to go", style="dim")
    return line


def _bar(state: Progress, now: float) -> RenderableType:
    """Steps of the phase while they are counted, else trials; a bar that only moves when nobody knows."""
    row = Table.grid(padding=(0, 1))
    if state.total:
        done, total, unit = state.done, state.total, ""
    elif state.planned is not None and state.phase not in ("confirm", "final", "test"):
        done, total, unit = min(state.ended, state.planned), state.planned, " trials"
    else:
        row.add_row(ProgressBar(total=None, pulse=True, width=BAR_WIDTH, animation_time=now))
        return row
    counts = ", ".join(f"{count} {name}" for name, count in state.counts if count and name != "complete")
    label = f"{done} of {total}{unit}" + (f" ({counts})" if counts else "")
    row.add_row(ProgressBar(total=total, completed=done, width=BAR_WIDTH), label)
    return row


def _best_line(best: Mapping[str, Any], metric: str | None) -> Text:
    words = f"  trial {best['number']}: {metric_name(metric)} {score(best['score'])}"
    if best.get("accuracy") is not None and metric != "accuracy":
        words += f", accuracy {best['accuracy']:.3f}"
    words += f", {visible(brief(best['config']))}"
    return Text.assemble((f"best of {visible(best['stage'])}", "bold green"), words, no_wrap=True, overflow="ellipsis")


def _trials(state: Progress, metric: str | None) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    for name, justify in (("trial", "right"), ("state", "left"), (metric_name(metric), "right"), ("seconds", "right")):
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("configuration", no_wrap=True, overflow="ellipsis")
    for event in state.recent:
        is_best = state.best is not None and event["number"] == state.best["number"]
        failed = event.get("error")
        about = brief(event["config"]) if failed is None else first_line(failed)
        table.add_row(
            str(event["number"]),
            Text(event["state"], style=_STYLES.get(event["state"], "")),
            score(event["score"]),
            f"{event['seconds']:.1f}",
            escape(visible(about)),
            style="bold" if is_best else None,
        )
    return table
