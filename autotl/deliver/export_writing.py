"""Has a model written in several formats by child processes: one for all, and a new one after each that died."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotl.deliver.artefact import Artefact
from autotl.deliver.child import run_child
from autotl.deliver.export_images import ExportImages
from autotl.errors import AutotlError


@dataclass
class Written:
    """What the children told."""

    problems: dict[int, str | None] = field(default_factory=dict)
    """By the index of a target that is done with: why it could not be written, or None."""
    is_rebuilt: bool = False
    """Whether the model was made anew in float32, because it computes in another precision."""
    begun: int | None = None
    error: str | None = None


def write_targets(
    artefact: Artefact,
    targets: Sequence[Mapping[str, Any]],
    images: ExportImages,
    work: Path,
    *,
    trust: bool,
    on_begin: Callable[[int], None],
) -> Written:
    """Writes all targets; what becomes of one changes nothing for the others.

    Args:
        artefact: the model folder.
        targets: `targets` of a job of `child_write`, in order of their `index`.
        images: to answer and to calibrate with.
        work: where the job, the logs and the model's own answers go.
        trust: as `open_artefact` takes it.
        on_begin: told the index of each target that is begun.

    Raises:
        AutotlError: the model cannot be loaded.
    """
    written = Written()
    while len(written.problems) < len(targets):
        done_before = len(written.problems)
        _write_rest(artefact, targets, images, work, written, trust=trust, on_begin=on_begin)
        if len(written.problems) == done_before:
            raise AutotlError("The process that writes models ended without a word. Try again with -v.")
    return written


def _write_rest(
    artefact: Artefact,
    targets: Sequence[Mapping[str, Any]],
    images: ExportImages,
    work: Path,
    written: Written,
    *,
    trust: bool,
    on_begin: Callable[[int], None],
) -> None:
    """One child's work: to the end, or to its death, which is noted against what it was at."""

    def path(file: Path | None) -> str | None:
        return None if file is None else str(file)

    def note(message: Mapping[str, Any]) -> None:
        match message.get("event"):
            case "ready":
                written.is_rebuilt = bool(message["rebuilt"])
            case "begin":
                written.begun = message["index"]
                on_begin(message["index"])
            case "end":
                written.problems[message["index"]] = message["problem"]
                written.begun = None
            case "error":
                written.error = message["message"]

    job = {
        "model": str(artefact.folder.absolute()),
        "trust": trust,
        "images": path(images.chosen),
        "validation": path(images.validation),
        "calibration": path(images.calibration),
        "answers": str(work),
        "targets": [target for target in targets if target["index"] not in written.problems],
    }
    (work / "job.json").write_text(json.dumps(job), encoding="utf-8")
    command = ["-m", "autotl.deliver.child_write", str(work / "job.json")]
    ending = run_child(command, work / "log.txt", note)
    if written.error is not None:
        raise AutotlError(written.error)
    if written.begun is not None:
        written.problems[written.begun] = f"the converter crashed: its process {ending.words}"
        written.begun = None
    elif ending.code != 0 and not written.problems:
        raise AutotlError(f"The model could not be loaded to be exported: its process {ending.words}")
