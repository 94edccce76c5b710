"""A backbone folder: a pretrained network without its head, with all that those who adapt it must know of it.

model.keras      RGB 0..255 `[B, S, S, 3]` -> features, normalisation inside
autotl.json      digest, source data, licences, ancestors, how it was trained (`delivered.py` reads it)
pretrain.json    the curve and the evaluation of its training
MODEL_CARD.md    the same for people
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from autotl.backbones.contract import RANDOM, Backbone, Weights
from autotl.backbones.delivered import DESCRIPTION_FILE, MODEL_FILE

SCHEMA_VERSION = 1
KIND = "backbone"
CURVE_FILE, CARD_FILE = "pretrain.json", "MODEL_CARD.md"
NOTHING = Weights(source="none, random weights", sha256=None, licence="NONE", dataset="random weights")


def inherited(record: Backbone, weights: str) -> dict[str, Any]:
    """What a network that goes on from these weights takes over from them: `backbone`, `licences` and `ancestors`."""
    own = NOTHING if weights == RANDOM else record.weights
    licence = {"of": f"weights of {record.label}", "licence": own.licence, "source": own.source, "dataset": own.dataset}
    provenance: Mapping[str, Any] = {} if weights == RANDOM else record.provenance
    return {
        "backbone": {"name": record.label, "weights": own.to_json()},
        "licences": list(provenance.get("licences", [licence])),
        "ancestors": list(provenance.get("ancestors", [])),
    }


def write_backbone(model_path: Path, folder: Path, description: Mapping[str, Any], training: Mapping[str, Any]) -> None:
    """Write a backbone folder beside its final place and rename it there: it is complete, or it is not there.

    Args:
        model_path: an existing `.keras` file; it is copied.
        folder: of the backbone; one that is there already is replaced.
        description: JSON with what `inherited` gives, `backbone` with `output` as well, `image_size`, and `data` {name,
            fingerprint, images, classes}.
        training: JSON with `init`, `labels`, `method`, `epochs`, `precision`, `scores` and `curve`.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with model_path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    full = {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": {"file": MODEL_FILE, "sha256": sha256, "bytes": model_path.stat().st_size},
        **description,
    }
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        shutil.copyfile(model_path, temporary / MODEL_FILE)
        _write(temporary / CURVE_FILE, json.dumps(training, indent=2, allow_nan=False) + "\n")
        _write(temporary / CARD_FILE, render_card(full, training))
        _write(temporary / DESCRIPTION_FILE, json.dumps(full, indent=2, allow_nan=False) + "\n")
        temporary.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _evaluation(training: Mapping[str, Any]) -> str:
    scores = training["scores"]
    if training["labels"] == "none":
        return (
            f"It learnt from the images alone, by {training['method']}: of {scores['n']} other images of that data set "
            f"{100 * scores['match']:.1f} % are found by another random view of them."
        )
    low, high = (100 * bound for bound in scores["accuracy_ci95"])
    return (
        f"The head that was trained with it is right on {100 * scores['accuracy']:.1f} % (95 % interval {low:.1f} to "
        f"{high:.1f}) of {scores['n']} other images of that data set."
    )


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="replace")


def render_card(description: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    """The card of a backbone, in Markdown."""
    backbone, data = description["backbone"], description["data"]
    labelled = "" if training["labels"] == "none" else f" of {data['classes']} classes"
    lines = [
        f"# {_plain(backbone['name'])}, pretrained on {_plain(Path(data['name']).name)}",
        "",
        f"A network without a classifier, trained with autotl for {training['epochs']} epochs at "
        f"{description['image_size']} px on {data['images']['train']} images{labelled}, from "
        f"{_plain(training['init'])} weights. It was trained in {training['precision']}; its weights are float32. "
        f"{_evaluation(training)}",
        "",
        "Use it with `autotl search DATASET --backbone FOLDER`. Its file loads in Keras's safe mode; its sha256 is",
        f"`{description['model']['sha256']}`.",
        "",
        f"Source data: {_plain(Path(data['name']).name)}, fingerprint `{data['fingerprint']}`.",
        "The images have their own terms, which autotl does not know.",
        "",
        "Licences:",
        "",
        *(f"- {_plain(item['of'])}: {_plain(item['licence'])}" for item in description["licences"]),
    ]
    if ancestors := description["ancestors"]:
        lines += ["", "It goes on from models that were themselves trained, the nearest first:", ""]
        lines += [
            f"- {_plain(one['name'])}, made from {_plain(one['backbone'] or 'unknown')}; sha256 {one['sha256']}; data "
            f"fingerprint {one['data_fingerprint'] or 'unknown'}"
            for one in ancestors
        ]
    return "\n".join(lines) + "\n"


def _plain(text: object) -> str:
    """A text on one line that can bring no markup in."""
    shown = "".join(sign if sign.isprintable() else " " for sign in str(text))
    return "".join(f"\\{sign}" if sign in "\\`*_[]<>|#" else sign for sign in shown)
