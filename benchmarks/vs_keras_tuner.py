"""autotl against KerasTuner: same network, images, split, number of trials, epochs and space, in one run.

    python benchmarks/vs_keras_tuner.py DATASET [--trials 20] [--epochs 5] [--size 128] [--seed 0] [--repeats 1]
        [--ways staged flat tenth] [--only autotl|keras-tuner] [--out benchmarks/results]

Each side runs in a fresh process with an empty cache folder, one after the other, on the space of
`spaces/vs_keras_tuner.toml`; autotl also on `spaces/vs_keras_tuner_staged.toml`, the same freeze points, heads and
ranges in stages, which is its own way to search, and that with a tenth of KerasTuner's time as `--budget`: what the
same accuracy costs. What KerasTuner is given is told in `keras_tuner_side.py`. Wall time
is that of the whole process, from its start to its end. Both are scored on the same test files by
`autotl.learn.metrics`. Files are read once before either clock starts (to split the data set), so the system's file
cache is warm for both.

`--only` runs one side and writes nothing: a comparison needs both in one run. Repeats use the seeds that follow; tables
have medians.
Writes `vs_keras_tuner.json` and `.md`.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from autotl_seconds import spent_seconds
from machine import describe_machine, machine_record, markdown_table

from autotl.data.check import check_dataset
from autotl.learn.metrics import scores, softmax
from autotl.space.files import read_space

HERE = Path(__file__).parent
SPACE = HERE / "spaces" / "vs_keras_tuner.toml"
STAGED_SPACE = HERE / "spaces" / "vs_keras_tuner_staged.toml"
AUTOTL, STAGED, TENTH = "autotl, flat", "autotl, staged", "autotl, staged, a tenth of the time"
SHARE = 0.1  # of KerasTuner's search is the budget of the last one
SEARCHED, REFITTED = "KerasTuner, best epoch of the search", "KerasTuner, best hyperparameters fitted again"
SIDES = (SEARCHED, REFITTED, AUTOTL, STAGED, TENTH)
METRICS = ("accuracy", "balanced_accuracy", "log_loss")
INTRODUCTION = """# autotl against KerasTuner

Written by `benchmarks/vs_keras_tuner.py`. Seconds are wall time of whole processes with empty caches, one after the
other; scores are of the same test images, computed by the same code. "Times faster" is the wall time of KerasTuner's
search over this one's. Staged, twenty trials are asked for, and a gate or the budget may end it with fewer.
The two rows of KerasTuner are one search: its best epoch is free (`get_best_models`), fitting the best hyperparameters
again to training and validation images (which autotl always does) takes one more training. KerasTuner's log-loss is
that of its model as it is; calibration is a part of autotl.
"""


def main() -> None:
    """Measure and report."""
    arguments = read_arguments(sys.argv[1:])
    machine = machine_record()
    runs: list[dict[str, Any]] = []
    for repeat in range(arguments.repeats):
        runs.append(_measure(arguments, arguments.seed + repeat))
        print(json.dumps(runs[-1]["sides"], indent=1), flush=True)
        record = make_record(arguments, machine, runs)
        if arguments.only is None:  # after each repeat: what is done is kept
            arguments.out.mkdir(parents=True, exist_ok=True)
            (arguments.out / "vs_keras_tuner.json").write_text(json.dumps(record, indent=1) + "\n")
            (arguments.out / "vs_keras_tuner.md").write_text(make_report(record))
    print(make_report(record))


def read_arguments(words: list[str]) -> argparse.Namespace:
    """The command line; faults end the program with exit code 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--trials", type=_count, default=20)
    parser.add_argument("--epochs", type=_count, default=5)
    parser.add_argument("--size", type=_count, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=_count, default=1)
    parser.add_argument("--backbone", default="efficientnet-lite0")
    parser.add_argument("--space", type=Path, default=SPACE, help="a file with one stage")
    ways = ["staged", "flat", "tenth"]
    parser.add_argument("--ways", choices=ways, nargs="+", default=ways, help="autotl's ways to search")
    parser.add_argument("--only", choices=["autotl", "keras-tuner"], help="one side alone; writes no result files")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    return parser.parse_args(words)


def _count(word: str) -> int:
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {number}")
    return number


def write_space(space: Path, folder: Path, epochs: int, image_size: int) -> Path:
    """The space with the epochs and the image size of this run; anything else is as in the file."""
    lines = []
    for line in space.read_text().splitlines():
        name = line.partition("=")[0].strip()
        line = f"epochs = {epochs}" if name == "epochs" else line
        lines.append(f"image_size = {{ choice = [{image_size}] }}" if name == "image_size" else line)
    path = folder / "space.toml"
    path.write_text("\n".join(lines) + "\n")
    stages = read_space(str(path)).stages
    sizes = stages[0].parameters["image_size"].choice  # type: ignore[union-attr]
    if any(stage.epochs != epochs for stage in stages) or sizes != (image_size,):
        raise SystemExit(f"The space must have a line `epochs = ...` and one `image_size = ...`; {space} has not.")
    return path


def _measure(arguments: argparse.Namespace, seed: int) -> dict[str, Any]:
    """One search by each side."""
    sides: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="vs-keras-tuner-") as name:
        folder = Path(name)
        space = write_space(arguments.space, folder, arguments.epochs, arguments.size)
        details = {}
        if arguments.only != "autotl":
            details["keras_tuner"], found = _run_keras_tuner(arguments, seed, space, folder / "keras-tuner")
            sides |= found
        ways = (("tenth", TENTH, STAGED_SPACE), ("staged", STAGED, STAGED_SPACE), ("flat", AUTOTL, arguments.space))
        for way, row, path in ways:
            if (
                arguments.only == "keras-tuner"
                or way not in arguments.ways
                or (way == "tenth" and SEARCHED not in sides)
            ):
                continue
            place = folder / way
            place.mkdir()
            mine = write_space(path, place, arguments.epochs, arguments.size)
            words = ["--space", str(mine), "--trials", str(arguments.trials)]
            if way == "tenth":
                words += ["--budget", f"{SHARE * sides[SEARCHED]['seconds']:.0f}s"]
            details[way], sides[row] = _run_autotl(arguments, seed, words, place)
    tested = {side["n"] for side in sides.values()}
    if len(tested) > 1:
        raise SystemExit(f"Both sides must be scored on the same test images, they had {sorted(tested)} of them.")
    return {"seed": seed, "sides": sides, "details": details}


def _run_keras_tuner(
    arguments: argparse.Namespace, seed: int, space: Path, folder: Path
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    folder.mkdir()
    check_dataset(arguments.dataset, seed=seed).manifest.write(folder / "manifest.csv")  # the split is given
    job = {
        "manifest": str(folder / "manifest.csv"), "space": str(space), "folder": str(folder), "seed": seed,
        "backbone": arguments.backbone, "image_size": arguments.size, "trials": arguments.trials,
        "epochs": arguments.epochs,
    }  # fmt: skip
    (folder / "job.json").write_text(json.dumps(job))
    wall, processor, _ = _run([sys.executable, str(HERE / "keras_tuner_side.py"), str(folder / "job.json")])
    details = json.loads((folder / "side.json").read_text())
    sides = {}
    for row, kept, other in ((SEARCHED, "best", "refit"), (REFITTED, "refit", "best")):
        with np.load(folder / f"{kept}.npz") as saved:
            measured = scores(softmax(saved["logits"]), saved["labels"])
        tested = {name: measured[name] for name in ("n", *METRICS)}
        spent = {"seconds": wall - details["seconds"][other]}
        spent["processor_seconds"] = processor - details["processor_seconds"][other]
        sides[row] = {**{name: round(value, 2) for name, value in spent.items()}, **tested}
    return details, sides


def _run_autotl(
    arguments: argparse.Namespace, seed: int, words: list[str], folder: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    command = [sys.executable, "-P", "-m", "autotl", "search", arguments.dataset, *words, "--seed", str(seed)]
    command += ["--backbone", arguments.backbone, "--json", "--quiet"]
    wall, processor, output = _run([*command, "--out", str(folder / "run"), "--cache-dir", str(folder / "cache")])
    result = json.loads(output)
    tested = {name: result["test"][name] for name in ("n", *METRICS)}
    side = {"seconds": round(wall, 2), "processor_seconds": round(processor, 2), **tested}
    kept = {name: result[name] for name in ("best", "trials", "validation", "cost", "counts") if name in result}
    return {**kept, "spent": spent_seconds(folder / "run", wall)}, side


def _run(command: list[str]) -> tuple[float, float, str]:
    """Wall seconds, processor seconds (of the process and its children) and what it printed."""
    start, before = perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wall, after = perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command[:4])} ... ended with exit code {done.returncode}:\n{done.stderr[-4000:]}")
    return wall, processor, done.stdout


def make_record(arguments: argparse.Namespace, machine: dict[str, Any], runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Everything that was measured, with the medians over the repeats and the ratios of wall times."""
    medians = {}
    for side in SIDES:
        measured = [run["sides"][side] for run in runs if side in run["sides"]]
        if measured:
            medians[side] = {name: median(row[name] for row in measured) for name in measured[0]}
    theirs = medians[SEARCHED]["seconds"] if SEARCHED in medians else None
    own = [side for side in (AUTOTL, STAGED, TENTH) if side in medians and theirs]
    ratios = {side: round(theirs / medians[side]["seconds"], 2) for side in own}
    names = ("trials", "epochs", "size", "seed", "repeats", "backbone")
    settings = {name: getattr(arguments, name) for name in names}
    dataset = Path(arguments.dataset).name
    return {
        "dataset": dataset, "settings": settings, "machine": machine, "medians": medians, "times_faster": ratios,
        "runs": runs,
    }  # fmt: skip


def make_report(record: dict[str, Any]) -> str:
    """The record as Markdown: the comparison, and where autotl's seconds went in the first run."""
    settings, ratios = record["settings"], record["times_faster"]
    told = (
        f"`{record['dataset']}`, {settings['trials']} trials of {settings['epochs']} epochs, {settings['backbone']} at "
        f"{settings['size']} px, median of {len(record['runs'])}. {describe_machine(record['machine'])}"
    )
    rows = [
        [
            side,
            f"{row['seconds']:.0f}",
            f"{ratios[side]:.1f}" if side in ratios else "",
            f"{row['processor_seconds']:.0f}",
            *(f"{row[name]:.3f}" for name in METRICS),
        ]
        for side, row in record["medians"].items()
    ]
    columns = ("side", "seconds", "times faster", "processor seconds", "test accuracy", "balanced accuracy", "log-loss")
    parts = [INTRODUCTION, told, "", markdown_table(columns, rows)]
    for way, found in record["runs"][0]["details"].items():
        spent = found.get("spent")
        if spent is None:
            continue
        kinds = list(dict.fromkeys(name for row in spent.values() for name in row if name != "jobs"))
        lines = [
            [what, row.get("jobs", ""), *(f"{row[kind]:.1f}" if kind in row else "" for kind in kinds)]
            for what, row in spent.items()
        ]
        parts += ["", f"Where autotl's seconds went, {way} (seed {record['runs'][0]['seed']}):", ""]
        parts.append(markdown_table(["what", "jobs", *kinds], lines))
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
