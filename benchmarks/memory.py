"""Peak memory of a search, driver and worker, over the number of images.

    python benchmarks/memory.py [2000 10000 ...] [--kinds probe,finetune] [--out benchmarks/results]

The images are synthetic: files of 32 x 32 pixels, ten classes of coloured blobs, made on the fly and thrown away. Small
images and a small network keep the run short; what grows with their number does not depend on their size, except the
stores on disk. Each search is a fresh process with an empty cache: a linear head on frozen features (`probe`), or one
epoch from a cached cut (`finetune`), of EfficientNet-Lite0.

Two numbers are sampled from /proc (Linux) for each process. "Peak" is the most that was ever resident (VmHWM); pages of
memory-mapped stores count in it, though the system takes them back at will. "Own" is the most anonymous memory
(RssAnon): what the process really needs. Writes `memory.json`, where rows of earlier calls stay, and `memory.md`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import psutil
from machine import describe_machine, machine_record, markdown_table
from PIL import Image

HERE = Path(__file__).parent
KINDS = ("probe", "finetune")
SIDE, CLASSES, BLOBS = 32, 10, 8
SAMPLE_SECONDS = 0.05
FIELDS = {"VmHWM": "peak", "RssAnon": "own"}
ROLES = ("driver", "worker")
INTRODUCTION = """# Memory over the number of images

Written by `benchmarks/memory.py`, on synthetic images (32 px, 10 classes, made on the fly), EfficientNet-Lite0 at 32
px, each search in fresh processes with an empty cache. MiB; "own" is anonymous memory, "peak" has the mapped pages of
stores too, which the system takes back when it needs them. "Cache" is what lies on disk at the end.
"""


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("counts", nargs="*", type=int, default=[2_000, 10_000], help="numbers of images")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    kinds = arguments.kinds.split(",")
    if unknown := set(kinds) - set(KINDS):
        parser.error(f"kinds are {', '.join(KINDS)}; given {', '.join(sorted(unknown))}")
    if min(arguments.counts) < 20 * CLASSES:
        parser.error(f"a search needs some images of each class: at least {20 * CLASSES}, not {min(arguments.counts)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "memory.json"
    record: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"rows": {}}
    record["machine"] = machine_record()
    for count in sorted(set(arguments.counts)):
        with tempfile.TemporaryDirectory(prefix="memory-") as folder:
            start = perf_counter()
            make_images(Path(folder) / "images", count, arguments.seed)
            print(f"{count} images made in {perf_counter() - start:.0f} s", flush=True)
            for kind in kinds:
                row = {"images": count, "kind": kind, **_measure(Path(folder), kind, arguments.seed)}
                record["rows"][f"{kind} {count}"] = row
                print(json.dumps(row), flush=True)
                path.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
                path.with_suffix(".md").write_text(make_report(record))
    print(make_report(record))


def make_images(folder: Path, count: int, seed: int) -> None:
    """Write `folder/<class>/<number>.png`: coloured noise, blurred, with the mean of its class. No two are alike."""
    generator = np.random.default_rng(seed)
    tints = generator.integers(60, 196, (CLASSES, 3))
    for number in range(CLASSES):
        (folder / f"class{number}").mkdir(parents=True)
    for number in range(count):
        kind = number % CLASSES
        blobs = np.clip(tints[kind] + generator.normal(0, 60, (BLOBS, BLOBS, 3)), 0, 255).astype(np.uint8)
        image = Image.fromarray(blobs).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        image.save(folder / f"class{kind}" / f"{number:06}.png", compress_level=1)


def _measure(folder: Path, kind: str, seed: int) -> dict[str, Any]:
    """One search, watched from outside: MiB by role."""
    cache = folder / f"cache-{kind}"
    command = [sys.executable, "-P", "-m", "autotl", "search", str(folder / "images"), "--seed", str(seed)]
    command += ["--space", str(HERE / "spaces" / f"memory_{kind}.toml"), "--backbone", "efficientnet-lite0"]
    command += ["--out", str(folder / f"run-{kind}"), "--cache-dir", str(cache), "--json", "--quiet"]
    start = perf_counter()
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        watch = Watch(process.pid)
        code = process.wait()
        watch.stop()
        errors.seek(0)
        if code != 0:
            raise SystemExit(f"The search ended with exit code {code}:\n{errors.read()[-4000:]}")
    seconds = perf_counter() - start
    stored = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
    return {"seconds": round(seconds, 1), "cache": round(stored / 2**20, 1), **watch.peaks}


class Watch:
    """Samples the memory of a process and its descendants in a thread, until it is stopped."""

    def __init__(self, pid: int) -> None:
        self.peaks: dict[str, dict[str, float]] = {role: dict.fromkeys(FIELDS.values(), 0.0) for role in ROLES}
        self._process = psutil.Process(pid)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End sampling."""
        self._stopped.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stopped.wait(SAMPLE_SECONDS):
            try:
                family = [
                    ("driver", self._process),
                    *(("worker", one) for one in self._process.children(recursive=True)),
                ]
            except psutil.NoSuchProcess:
                return
            for role, process in family:
                for name, amount in memory_of(process.pid).items():
                    self.peaks[role][name] = max(self.peaks[role][name], amount)


def memory_of(pid: int) -> dict[str, float]:
    """MiB of a process by the names of `FIELDS`; nothing when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    values = {name: value for name, _, value in (line.partition(":") for line in lines)}
    return {told: round(int(values[name].split()[0]) / 1024, 1) for name, told in FIELDS.items() if name in values}


def make_report(record: dict[str, Any]) -> str:
    """The record as Markdown, with the growth from the fewest images to the most."""
    rows = sorted(record["rows"].values(), key=lambda row: (KINDS.index(row["kind"]), row["images"]))
    columns = [
        "search",
        "images",
        *(f"{role}, {name}" for role in ROLES for name in FIELDS.values()),
        "cache",
        "seconds",
    ]
    cells = [
        [
            row["kind"],
            row["images"],
            *(f"{row[role][name]:.0f}" for role, name in _places()),
            row["cache"],
            row["seconds"],
        ]
        for row in rows
    ]
    parts = [INTRODUCTION, describe_machine(record["machine"]), "", markdown_table(columns, cells)]
    growth = list(_growth(rows))
    if growth:
        columns = ["search", "from", "to", *columns[2:6]]
        parts += ["", "Growth, in KiB for each image more:", "", markdown_table(columns, growth)]
    return "\n".join(parts) + "\n"


def _places() -> list[tuple[str, str]]:
    return [(role, name) for role in ROLES for name in FIELDS.values()]


def _growth(rows: list[dict[str, Any]]) -> Iterable[list[str]]:
    for kind in KINDS:
        mine = [row for row in rows if row["kind"] == kind]
        for few, many in pairwise(mine):
            more = many["images"] - few["images"]
            slopes = [(many[role][name] - few[role][name]) * 1024 / more for role, name in _places()]
            yield [kind, few["images"], many["images"], *(f"{slope:.1f}" for slope in slopes)]


if __name__ == "__main__":
    main()
