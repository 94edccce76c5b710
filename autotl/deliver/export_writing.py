"""Has a model written in several formats by child processes: one for all, and a new one after each that died."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotl.deliver.child import run_child
from autotl.deliver.export_images import ExportImages
from autotl.errors import AutotlError, PluginError

TIMEOUT_SECONDS = 3600.0  # of one child; the slowest network of benchmarks/formats.py takes minutes


@dataclass
class Written:
    """What the children told."""

    problems: dict[int, str | None] = field(default_factory=dict)
    """By the index of a target that is done with: why it could not be written, or None."""
    is_rebuilt: bool = False
    """Whether the model was made anew in float32, because it computes in another precision."""


def write_targets(
    model: Mapping[str, Any],
    targets: Sequence[Mapping[str, Any]],
    images: ExportImages,
    work: Path,
    on_begin: Callable[[int], None],
) -> Written:
    """Writes all targets; what becomes of one changes nothing for the others.

    Args:
        model: what a job of `child_write` says of the model: `model` and `trust`, or `file` and `plugins`.
        targets: `targets` of such a job, in order of their `index`.
        images: to answer and to calibrate with.
        work: where the job, the logs and the model's own answers go.
        on_begin: told the index of each target that is begun.

    Raises:
        AutotlError: the model cannot be loaded.
    """
    written = Written()
    while len(written.problems) < len(targets):
        _write_rest(model, targets, images, work, written, on_begin)
    return written


def _write_rest(
    model: Mapping[str, Any],
    targets: Sequence[Mapping[str, Any]],
    images: ExportImages,
    work: Path,
    written: Written,
    on_begin: Callable[[int], None],
) -> None:
    """One child's work: to the end, or to its death, which is noted against what it was at."""
    begun: int | None = None
    error: AutotlError | None = None

    def note(message: Mapping[str, Any]) -> None:
        nonlocal begun, error
        match message.get("event"):
            case "ready":
                written.is_rebuilt = bool(message["rebuilt"])
            case "begin":
                begun = message["index"]
                on_begin(message["index"])
            case "end":
                written.problems[message["index"]] = message["problem"]
                begun = None
            case "error":
                kind = PluginError if message["kind"] == PluginError.kind else AutotlError
                error = kind(message["message"])

    job = {
        **model,
        "images": _text(images.chosen),
        "validation": _text(images.validation),
        "calibration": _text(images.calibration),
        "answers": str(work),
        "targets": [target for target in targets if target["index"] not in written.problems],
    }
    (work / "job.json").write_text(json.dumps(job), encoding="utf-8")
    command = ["-m", "autotl.deliver.child_write", str(work / "job.json")]
    before = len(written.problems)
    ending = run_child(command, work / "log.txt", note, TIMEOUT_SECONDS)
    if error is not None:
        raise error
    if begun is not None:
        written.problems[begun] = (
            f"the converter did not finish: its process {ending.words}. Choose another format or precision."
        )
    elif len(written.problems) == before:
        raise AutotlError(
            f"A model is loaded by a process of its own to be written; that one {ending.words}. Free some memory and "
            "try again, or copy the model folder again from where it was made."
        )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
