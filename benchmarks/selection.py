"""Whether more trials on a small validation split choose worse: 10 against 50 trials on 200 validation images.

    python benchmarks/selection.py DATASET [--seeds 0,1,2,3,4] [--train 600] [--validation 200] [--trials 10,50]
        [--out benchmarks/results]

All images of the data set are drawn anew for each seed into training, validation and test splits; the test split is
what is left, so it is large. Each search is the whole of autotl (trials, confirmation of the best, choice, last
fit, test) over `spaces/selection.toml`: many heads on one frozen network, which differ much more than the best of them
do. Differences are paired by seed; intervals are 95 %, of Student. Writes `selection.json` and `.md`.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from intervals import mean_of
from machine import describe_machine, machine_record, markdown_table

HERE = Path(__file__).resolve().parent
SPACE = HERE / "spaces" / "selection.toml"
METRICS = ("accuracy", "balanced_accuracy", "log_loss")
INTRODUCTION = """# More trials on a small validation split

Written by `benchmarks/selection.py`. Optimism is by how much the best validation log-loss of a search flatters, beside
the test's. Test scores are of the delivered model on images that no part of the search has seen.
"""


def main() -> None:
    """Search, and report."""
    arguments = read_arguments(sys.argv[1:])
    counts, rows = numbers(arguments.trials), []
    with tempfile.TemporaryDirectory(prefix="selection-") as name:
        for seed in numbers(arguments.seeds):
            data = draw(Path(arguments.dataset), Path(name) / f"data-{seed}", seed, arguments)
            for trials in counts:
                rows.append({"seed": seed, "trials": trials, **search(data, Path(name), seed, trials)})
                print(json.dumps(rows[-1]), flush=True)
    record = {"dataset": Path(arguments.dataset).name, "validation": arguments.validation, "rows": rows}
    record["machine"] = machine_record()
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "selection.json").write_text(json.dumps(record, indent=1) + "\n")
    (arguments.out / "selection.md").write_text(make_report(record))
    print(make_report(record))


def read_arguments(words: Sequence[str]) -> argparse.Namespace:
    """The command line; faults end the program with exit code 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="a folder of train|val|test/class/*, or class/*")
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--train", type=int, default=600)
    parser.add_argument("--validation", type=int, default=200)
    parser.add_argument("--trials", default="10,50")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    return parser.parse_args(words)


def numbers(text: str) -> list[int]:
    """Whole numbers with commas between them."""
    return [int(part) for part in text.split(",")]


def draw(source: Path, target: Path, seed: int, arguments: argparse.Namespace) -> Path:
    """The images in a new division, copied into `target`: each class has its share in every split."""
    images: dict[str, list[Path]] = {}
    for path in sorted(source.rglob("*")):
        if path.is_file():
            images.setdefault(path.parent.name, []).append(path)
    total, generator = sum(map(len, images.values())), random.Random(seed)
    for label, paths in images.items():
        generator.shuffle(paths)
        ends = [round(len(paths) * part / total) for part in (arguments.train, arguments.train + arguments.validation)]
        parts = {"train": paths[: ends[0]], "val": paths[ends[0] : ends[1]], "test": paths[ends[1] :]}
        for split, chosen in parts.items():
            folder = target / split / label
            folder.mkdir(parents=True)
            for number, path in enumerate(chosen):
                shutil.copyfile(path, folder / f"{number:05}{path.suffix}")
    return target


def search(data: Path, work: Path, seed: int, trials: int) -> dict[str, Any]:
    """One search in a process of its own; what its model scores, and how far its best validation score flattered."""
    run = work / f"run-{seed}-{trials}"
    words = ["--space", str(SPACE), "--trials", str(trials), "--seed", str(seed), "--out", str(run)]
    command = [sys.executable, "-P", "-m", "autotl", "search", str(data), *words, "--cache-dir", str(work / "cache")]
    done = subprocess.run([*command, "--json", "--quiet"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command[:5])} ended with exit code {done.returncode}:\n{done.stderr[-3000:]}")
    result = json.loads(done.stdout)
    tested = {name: result["test"][name] for name in ("n", *METRICS)}
    return {**tested, "optimism": result["optimism"]["log_loss"], "done": sum(result["trials"].values())}


def make_report(record: dict[str, Any]) -> str:
    """A table of means over seeds, and the paired differences to the fewest trials."""
    rows, counts = record["rows"], sorted({row["trials"] for row in record["rows"]})
    names = (*METRICS, "optimism")
    by_count = {count: [row for row in rows if row["trials"] == count] for count in counts}
    lines = []
    for count, mine in by_count.items():
        means = [mean_of([row[name] for row in mine]).text(3) for name in names]
        first = {row["seed"]: row for row in by_count[counts[0]]}
        changes = [mean_of([row[name] - first[row["seed"]][name] for row in mine]).text(3, sign=True) for name in names]
        lines.append([count, len(mine), *means])
        if count != counts[0]:
            lines.append([f"{count} against {counts[0]}", len(mine), *changes])
    told = (
        f"`{record['dataset']}`, {record['validation']} validation images, about {rows[0]['n']} test images. "
        f"{describe_machine(record['machine'])}"
    )
    columns = ("trials", "seeds", "test accuracy", "balanced accuracy", "log-loss", "optimism of log-loss")
    return "\n".join([INTRODUCTION, told, "", markdown_table(columns, lines)]) + "\n"


if __name__ == "__main__":
    main()
