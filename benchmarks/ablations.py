"""What each part of autotl buys, and whether the staged search beats other ways to spend the same time.

    python benchmarks/ablations.py DATASET... [--peers] [--seeds 0,1,2] [--budget 4m] [--trials N]
        [--variants "full,no gate"] [--default-backbones efficientnet-lite0] [--out benchmarks/results]

Every search is a process of its own with an empty cache, one after the other. Without --peers the variants are the
whole search and the search without each of its parts; with it they are the staged search, flat and random search and
single default fine-tunes, which all get the same --budget. A finished search is one line of `ablations.jsonl` and is
not run again: stop when you like, and go on with the same command (--fresh runs all of them again). After each search
the table and the plot are written anew. Scores are of the test split, which each search reads once; intervals are 95 %,
of Student, over seeds. The seconds of a single default include its confirming and its final fit.
"""

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from ablation_table import report
from machine import machine_record
from plots import draw
from variants import Variant, ablations, peers, write_toml

from autotl.data.samples import PREFIX

HERE = Path(__file__).resolve().parent
KEY = ("dataset", "variant", "seed", "budget", "trials")
LEFT_OUT = ("run", "model", "command", "report")  # paths of this machine
ERROR_CHARACTERS = 600

Record = dict[str, Any]


@dataclass(frozen=True)
class Search:
    """One search that is to be run."""

    dataset: str
    variant: Variant
    seed: int
    budget: str | None
    trials: int | None

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells it from the others."""
        return (Path(self.dataset).name, self.variant.name, self.seed, self.budget, self.trials)

    def command(self, folder: Path) -> list[str]:
        """The command line; its space is written into the folder, and the cache and the run will be there."""
        space = folder / "space.toml"
        space.write_text(write_toml(self.variant.space(endless=self.budget is not None)))
        job = self.variant.job
        program = ["-m", "autotl", "search"] if job is None else [str(HERE / "ablated_jobs.py"), job]
        where = ["--out", str(folder / "run"), "--cache-dir", str(folder / "cache")]
        limits = [] if self.budget is None else ["--budget", self.budget]
        limits += [] if self.trials is None else ["--trials", str(self.trials)]
        how = ["--space", str(space), "--seed", str(self.seed), *limits, *where, "--json", "--quiet"]
        return [sys.executable, *program, self.dataset, *how]


def run(search: Search, work: Path | None) -> Record:
    """Run one search in a fresh process on a fresh cache; what it came to, or its error."""
    record = dict(zip(KEY, search.key, strict=True)) | {"code": code_digest()}  # before: sources may change meanwhile
    path = os.pathsep.join(part for part in (str(HERE), os.environ.get("PYTHONPATH")) if part)
    with tempfile.TemporaryDirectory(dir=work) as folder:
        started, processor = perf_counter(), processor_seconds()
        done = subprocess.run(
            search.command(Path(folder)), capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
        )
        wall = round(perf_counter() - started, 1)
    record |= {"wall_seconds": wall, "processor_seconds": round(processor_seconds() - processor, 1)}
    if done.returncode != 0:
        return record | {"error": (done.stderr or done.stdout)[-ERROR_CHARACTERS:]}
    result = json.loads(done.stdout)
    return record | {"result": {name: value for name, value in result.items() if name not in LEFT_OUT}}


def processor_seconds() -> float:
    """Of all searches so far with their workers: other work on the machine disturbs them less than seconds."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def code_digest() -> str:
    """Of autotl's sources and spaces: lines of different code are told apart in the table."""
    root = HERE.parent
    paths = sorted([*root.glob("autotl/**/*.py"), *root.glob("search_spaces/*.toml")])
    content = hashlib.sha256()
    for path in paths:
        content.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return content.hexdigest()[:12]


def read_lines(path: Path) -> list[Record]:
    """Finished searches, the last of equal ones; a line that was cut off is left out."""
    found: dict[tuple[Any, ...], Record] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        found[tuple(record[name] for name in KEY)] = record
    return list(found.values())


def forget(path: Path, searches: Sequence[Search]) -> None:
    """Take these searches out of the file of finished ones."""
    planned = {search.key for search in searches}
    kept = [record for record in read_lines(path) if tuple(record[name] for name in KEY) not in planned]
    path.write_text("".join(json.dumps(record) + "\n" for record in kept))


def plan(arguments: argparse.Namespace) -> Iterator[Search]:
    """All searches, seed by seed: a run that is cut short has all variants of its first seeds, on all data."""
    variants = chosen(arguments)
    names = [each if each.startswith(PREFIX) else str(Path(each).resolve()) for each in arguments.datasets]
    for seed in (int(text) for text in arguments.seeds.split(",")):
        for name in names:
            for variant in variants:
                # a single default is one trial, whatever the others have
                trials = None if variant.name.startswith("default ") else arguments.trials
                yield Search(name, variant, seed, arguments.budget, trials)


def chosen(arguments: argparse.Namespace) -> list[Variant]:
    """The variants that are asked for.

    Raises:
        SystemExit: there is no variant of that name.
    """
    kinds = peers if arguments.peers else ablations
    variants = kinds(arguments.default_backbones.split(","))
    if arguments.variants is None:
        return variants
    names = [name.strip() for name in arguments.variants.split(",")]
    unknown = set(names) - {variant.name for variant in variants}
    if unknown:
        raise SystemExit(
            f"A variant is one of {', '.join(v.name for v in variants)}; given {', '.join(sorted(unknown))}."
        )
    return [variant for variant in variants if variant.name in names]


def write_report(searches: Sequence[Search], records: Sequence[Record], out: Path, name: str) -> None:
    """Tables and plot of the searches of this command that have finished, also those of earlier runs of it."""
    wanted = {search.key for search in searches}
    mine = [record for record in records if tuple(record[field] for field in KEY) in wanted]
    if not any("result" in record for record in mine):
        return
    about = {search.variant.name: search.variant.what for search in searches}
    summary, text = report(mine, about, name, machine_record())
    (out / f"{name}.json").write_text(json.dumps(summary, indent=2) + "\n")
    (out / f"{name}.md").write_text(text)
    draw(summary["datasets"], out / f"{name}.svg")


def main() -> None:
    """Run what is missing and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="+", metavar="DATASET")
    parser.add_argument("--peers", action="store_true", help="other ways to spend the same time")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--budget", help="wall time of each search, like 4m")
    parser.add_argument("--trials", type=int, help="trials of each search")
    parser.add_argument("--variants", help="only these, by name, with commas")
    parser.add_argument("--default-backbones", default="efficientnet-lite0")
    parser.add_argument("--fresh", action="store_true", help="run finished searches again")
    parser.add_argument("--work", type=Path, help="where runs and caches are while they run; the system's default")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    if arguments.peers and arguments.budget is None:
        parser.error("peers are compared at equal time: give --budget")
    arguments.out.mkdir(parents=True, exist_ok=True)
    name = "ablations_peers" if arguments.peers else "ablations"
    lines = arguments.out / "ablations.jsonl"  # one for both: a search that both have is run once
    searches = list(plan(arguments))
    if arguments.fresh:
        forget(lines, searches)
    for number, search in enumerate(searches, 1):
        done = {tuple(record[field] for field in KEY) for record in read_lines(lines) if "result" in record}
        if search.key in done:
            continue
        print(f"{number} of {len(searches)}: {search.key}", file=sys.stderr, flush=True)
        record = run(search, arguments.work)
        with lines.open("a") as file:
            file.write(json.dumps(record) + "\n")
        print(f"  {record.get('error', '')}{record['wall_seconds']} s", file=sys.stderr, flush=True)
        write_report(searches, read_lines(lines), arguments.out, name)
    write_report(searches, read_lines(lines), arguments.out, name)
    print(
        (arguments.out / f"{name}.md").read_text() if (arguments.out / f"{name}.md").exists() else "Nothing finished."
    )


if __name__ == "__main__":
    main()
