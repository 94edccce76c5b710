"""Every backbone, split at every stage, against the whole: prefix and tail must compute what the network computes.

    python benchmarks/parity_wall.py --all [--largest 400]
    python benchmarks/parity_wall.py nasnet-mobile resnet50 [--out benchmarks/results]

Each network is built with random weights at its smallest image size, in a process of its own, so that memory is
returned and one failing network is one row. Writes `parity_wall.json`, where rows of earlier calls stay, and the same
as a table in Markdown. The difference is the largest between tail(prefix(x)) and model(x) over all stages and two noisy
images, relative to the largest output.
"""

import argparse
import json
import math
import resource
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from autotl.backbones.cuts import find_cuts, split_model, stage_cuts
from autotl.backbones.registry import list_backbones, load_backbone

LIMIT_SECONDS = 1800
INTRODUCTION = """# Prefix and tail against the whole network

Written by `benchmarks/parity_wall.py`: random weights, smallest image size. "Packed" counts the stages at which several
tensors are alive. "Frozen" is the share of the parameters before each stage, in percent; "largest" what the store of
the widest stage holds per image, relative to the image. Seconds are those of one process on a shared machine.

"""
COLUMNS = (
    "backbone",
    "pixels",
    "parameters",
    "cuts",
    "stages",
    "packed",
    "frozen",
    "largest",
    "difference",
    "build, s",
)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="names or references of backbones")
    parser.add_argument("--all", action="store_true", help="every registered backbone")
    parser.add_argument(
        "--largest", type=float, default=400.0, help="with --all, million parameters; bigger are left out"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)  # how this program calls itself
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(_measure(arguments.names[0])))
        return
    names = [*arguments.names, *(_registered(arguments.largest * 1e6) if arguments.all else [])]
    if not names:
        parser.error("name some backbones, or --all")
    arguments.out.mkdir(parents=True, exist_ok=True)
    record = arguments.out / "parity_wall.json"
    rows = json.loads(record.read_text()) if record.exists() else {}
    for name in dict.fromkeys(names):
        rows[name] = _in_a_process(name)
        print(" | ".join(_cells(name, rows[name])), flush=True)
        record.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n")
        record.with_suffix(".md").write_text(_table(rows))


def _registered(largest: float) -> list[str]:
    names = [listing.name for listing in list_backbones() if listing.problem is None]
    return [name for name in names if (load_backbone(name).parameters or math.inf) <= largest]


def _in_a_process(name: str) -> dict[str, Any]:
    try:
        done = subprocess.run(
            [sys.executable, __file__, name, "--one"],
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"not done after {LIMIT_SECONDS} s"}
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        return {"error": lines[-1] if lines else f"exit code {done.returncode}"}
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def _measure(name: str) -> dict[str, Any]:
    import keras  # noqa: F401  # its import is not part of building

    backbone = load_backbone(name)
    size = backbone.nearest_size(backbone.min_image_size)
    start = perf_counter()
    model = backbone.build(size, "random")
    built = perf_counter()
    stages = stage_cuts(model)
    found = perf_counter()
    images = np.random.default_rng(0).uniform(0, 255, (2, size, size, 3)).astype("float32")
    whole = np.asarray(model(images, training=False))
    scale = float(np.abs(whole).max())
    differences = []
    for cut in stages:
        prefix, tail = split_model(model, cut)
        features = prefix(images, training=False)
        again = np.asarray(features if tail is None else tail(features, training=False))
        differences.append(float(np.abs(again - whole).max()) / (scale if scale > 0 else 1.0))
    return {
        "image_size": size,
        "parameters": int(model.count_params()),
        "cuts": len(find_cuts(model)),
        "stages": [
            {"name": cut.name, "shape": cut.shape, "tensors": cut.tensors, "frozen": round(cut.frozen_fraction, 4)}
            for cut in stages
        ],
        "differences": differences,
        "build_seconds": round(built - start, 2),
        "stages_seconds": round(found - built, 3),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def _cells(name: str, row: dict[str, Any]) -> list[str]:
    if "error" in row:
        return [name, *[""] * (len(COLUMNS) - 2), row["error"]]
    stages = row["stages"]
    image = 3 * row["image_size"] ** 2
    return [
        name,
        str(row["image_size"]),
        f"{row['parameters'] / 1e6:.1f} M",
        str(row["cuts"]),
        str(len(stages)),
        str(sum(stage["tensors"] > 1 for stage in stages)),
        " ".join(f"{100 * stage['frozen']:.0f}" for stage in stages),
        f"{max(np.prod(stage['shape']) for stage in stages) / image:.1f}",
        f"{max(row['differences']):.1e}",
        f"{row['build_seconds']:.1f}",
    ]


def _table(rows: dict[str, dict[str, Any]]) -> str:
    lines = [_line(COLUMNS), _line(["---"] * len(COLUMNS))]
    return INTRODUCTION + "\n".join([*lines, *(_line(_cells(name, rows[name])) for name in sorted(rows))]) + "\n"


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
