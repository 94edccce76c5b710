"""`autotl export`: a delivered model in other formats, each checked where it will be used before it may be used.

    OUT/onnx-float32/    model.onnx, predict.py, autotl.json, labels.txt, MODEL_CARD.md, parity.json
    OUT/onnx-int8/       model.onnx.rejected, parity.json: it was not near enough to the model

Converters are native code that may crash: they run in a child process (`child_write.py`). Each model is then run by
its own `predict.py` in another one that sees its runtime only (`child_verify.py`). A folder takes its place in one
step when all is in it.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from autotl.data.store import Cache, default_cache
from autotl.deliver.artefact import KERAS, Artefact, open_artefact, put_in_place
from autotl.deliver.child_write import IMAGES_ANSWERS, VALIDATION_ANSWERS
from autotl.deliver.description import DESCRIPTION_FILE
from autotl.deliver.export_folder import (
    complete_folder,
    describe_export,
    metadata_of,
    reject_folder,
    require_own_folder,
    require_renderable,
)
from autotl.deliver.export_images import ExportImages, gather_images
from autotl.deliver.export_targets import Target, choose_targets
from autotl.deliver.export_writing import Written, write_targets
from autotl.deliver.parity import Answers
from autotl.deliver.verify import verify_model
from autotl.errors import AutotlError, UsageError
from autotl.exporters.contract import INT8
from autotl.exporters.script import write_script

OK, REJECTED, FAILED, UNVERIFIED = "ok", "rejected", "failed", "unverified"


def export_model(
    model: Path | str,
    formats: Sequence[str],
    *,
    precision: str | None = None,
    out: Path | str | None = None,
    dataset: str | None = None,
    verify: bool = True,
    trust: bool = False,
    cache: Cache | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Writes a delivered model in other formats and checks each.

    Args:
        model: a model folder or a run directory.
        formats: names, each with `:PRECISION` or without, or "all".
        precision: of the formats that name none; by default each one's own.
        out: where the folders go; by default `export` beside the model folder.
        dataset: labelled images to compare on and to calibrate with; by default those of the search.
        verify: whether to check what was written.
        trust: accept a model that has another digest than the recorded one.
        cache: of decoded images.
        on_progress: told what is being done, in words.

    Returns:
        JSON: model, out, exports [{format, precision, folder, file, bytes, state ("ok", "rejected", "failed" or
        "unverified"), problem, parity, latency}], left_out [{format, reason}] of "all".

    Raises:
        UsageError: something that was asked for does not exist, or is known not to work.
        AutotlError: packages are missing, or the model cannot be loaded. What becomes of single formats is no error.
    """
    artefact = open_artefact(model, trust=trust)
    if artefact.format != KERAS:
        raise UsageError(
            f"Exports are made of the model folder of a run; {artefact.folder} is an export in the format "
            f"{artefact.format}. Give the run, or its model folder."
        )
    require_renderable(artefact)
    targets, left_out = choose_targets(formats, precision, artefact.description["backbone"], verify)
    folder = _beside(artefact) if out is None else Path(out).expanduser()
    for place in (folder / target.name for target in targets):
        require_own_folder(place)
        require_own_folder(_place(place, REJECTED))
    note = (lambda words: None) if on_progress is None else on_progress
    with _work_folder(folder) as work:
        note("finds the images of the model")
        images = gather_images(
            artefact,
            dataset,
            default_cache() if cache is None else cache,
            work,
            verify=verify,
            calibrate=any(target.precision == INT8 for target in targets),
        )
        exports = _export(artefact, targets, images, work, folder, trust=trust, verify=verify, note=note)
    return {
        "model": str(artefact.folder),
        "out": str(folder),
        "exports": exports,
        "left_out": [vars(item) for item in left_out],
    }


def _export(
    artefact: Artefact,
    targets: Sequence[Target],
    images: ExportImages,
    work: Path,
    out: Path,
    *,
    trust: bool,
    verify: bool,
    note: Callable[[str], None],
) -> list[dict[str, Any]]:
    descriptions = [describe_export(artefact, target) for target in targets]
    jobs = []
    for index, target in enumerate(targets):
        (work / target.name).mkdir()
        metadata = metadata_of(descriptions[index])
        place = {"index": index, "format": target.exporter.name, "precision": target.precision}
        jobs.append({**place, "folder": str(work / target.name), "metadata": metadata})
    note("loads the model")
    source = {"model": str(artefact.folder.absolute()), "trust": trust}
    written = write_targets(source, jobs, images, work, lambda index: note(f"writes {targets[index].name}"))
    exports = []
    for index, target in enumerate(targets):
        if verify and written.problems[index] is None:
            note(f"checks {target.name}")
        try:
            entry = _finish(artefact, target, descriptions[index], written, written.problems[index], images, work)
        except AutotlError as error:  # what was written is not what may lie in a folder
            entry = _entry(target, str(error))
        if entry["state"] != FAILED:
            folder = _place(out / target.name, entry["state"])
            put_in_place(work / target.name, folder)
            entry["folder"] = str(folder)
        exports.append(entry)
    return exports


def _finish(
    artefact: Artefact,
    target: Target,
    description: dict[str, Any],
    written: Written,
    problem: str | None,
    images: ExportImages,
    work: Path,
) -> dict[str, Any]:
    """Checks what was written, and makes a folder of it that can be used, or one that cannot."""
    folder = work / target.name
    entry = _entry(target, problem)
    if problem is not None:
        return entry
    write_script(target.exporter, folder, artefact.image_size, artefact.resize)
    if images.chosen is None:
        size = complete_folder(folder, target, description, None, None)
        return {**entry, "state": UNVERIFIED, "file": target.exporter.file, "bytes": size}
    expected = Answers([np.load(work / IMAGES_ANSWERS)], np.load(work / VALIDATION_ANSWERS))
    needs = ["autotl"] if target.exporter.name == KERAS else []  # its layers may come from a plugin, which needs it
    parity, latency = verify_model(folder, target, images, expected, work / f"check-{target.name}", needs)
    parity["reference"] = "the model made anew in float32" if written.is_rebuilt else "the model"
    entry |= {"parity": parity, "latency": latency}
    if parity["passed"]:
        size = complete_folder(folder, target, description, parity, latency)
        return {**entry, "state": OK, "file": target.exporter.file, "bytes": size}
    file, size = reject_folder(folder, target, parity, latency)
    return {**entry, "state": REJECTED, "problem": "; ".join(parity["problems"]), "file": file, "bytes": size}


def _entry(target: Target, problem: str | None) -> dict[str, Any]:
    """What is said of one export, before anything is known."""
    return {
        "format": target.exporter.name, "precision": target.precision, "folder": None, "file": None, "bytes": None,
        "state": FAILED, "problem": problem, "parity": None, "latency": None,
    }  # fmt: skip


def _place(folder: Path, state: str) -> Path:
    """Where an export goes. A rejected one does not drive out an earlier one that can be used."""
    has_usable = (folder / DESCRIPTION_FILE).is_file()
    return folder.with_name(f"{folder.name}-{REJECTED}") if state == REJECTED and has_usable else folder


def _beside(artefact: Artefact) -> Path:
    folder = artefact.folder
    return (folder.resolve() if folder.name in ("", "..") else folder).parent / "export"


@contextmanager
def _work_folder(out: Path) -> Iterator[Path]:
    """A folder on the same disk as the results, gone afterwards whatever happens."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(prefix=".work-", dir=out.resolve(), ignore_cleanup_errors=True)
    except OSError as error:
        raise UsageError(
            f"Exports are written into a folder; {out} cannot be one ({error.strerror}). Give another with --out."
        ) from error
    with temporary as work:
        yield Path(work)
