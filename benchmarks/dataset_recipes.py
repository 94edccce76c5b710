"""What `datasets.py` can build: where each data set comes from, its licence, and what the labels and groups are.

Licences and sources were read in the packages themselves (METADATA, README, debian/copyright), not copied from lists.
"""

import gzip
import io
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from dataset_archives import Picture, members
from PIL import Image

FRAMES = 8
"""Of one figure's animation, evenly spaced: the others are nearly the same pictures."""
MIN_FIGURES = 6
MIN_EMOJI = 20
MIN_STAMPS = 30
PERSONS = ("1f468", "1f469", "1f9d1")  # man, woman, person: the same drawing but for the hair
SAME_EMOJI = {"2640", "2642", "fe0f", "200d", "27a1"}  # female, male, variation, joiner, facing right


@dataclass(frozen=True)
class Archive:
    """One package: `client` fetches `requirement`, and the file that comes has this sha256."""

    client: str
    requirement: str
    sha256: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """A data set: its archives, and how pictures are read from them (given in the order of `archives`)."""

    name: str
    what: str
    licence: str
    archives: tuple[Archive, ...]
    pictures: Callable[[Sequence[Path]], Iterator[Picture]]


def digits(paths: Sequence[Path]) -> Iterator[Picture]:
    """Grey 8 x 8 scans. The writers are not told, so every image is a group."""
    ((_, content),) = members(paths[0], "sklearn/datasets/data", ("digits.csv.gz",))
    rows = np.loadtxt(io.StringIO(gzip.decompress(content).decode()), delimiter=",")
    for number, row in enumerate(rows):
        pixels = np.round(row[:64].reshape(8, 8) * 255 / 16).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "png")
        yield Picture(f"{number:04}", str(int(row[64])), str(number), buffer.getvalue())


def solar(paths: Sequence[Path]) -> Iterator[Picture]:
    """Grey 300 x 300 photographs. The class is both labels together: the wafer, and how probable a defect is.

    Which of the 44 modules a cell is from is not told, so cells of one module are on both sides of the split.
    """
    images = {path.name: content for path, content in members(paths[0], "elpv_dataset/data/images")}
    ((_, content),) = members(paths[0], "elpv_dataset/data", ("labels.csv",))
    for line in content.decode().splitlines():
        name, probability, wafer = line.split()
        label = f"{wafer}-{round(float(probability) * 3)}of3"
        stem = PurePosixPath(name).stem
        yield Picture(stem, label, stem, images[PurePosixPath(name).name])


def emoji(paths: Sequence[Path]) -> Iterator[Picture]:
    """64 x 64 drawings of two artists. The class is Unicode's subgroup; flags and the many skin tones are left out.

    A group is one emoji as drawn by both, with its female, male and neutral variants.
    """
    ((_, content),) = members(paths[0], "package", ("emoji.json",))
    entries = [entry for entry in json.loads(content) if entry["category"] not in ("Flags", "Component")]
    sizes = Counter(entry["subcategory"] for entry in entries)
    for path, artist in zip(paths, ("google", "twitter"), strict=True):
        images = {inside.name: content for inside, content in members(path, f"package/img/{artist}/64")}
        for entry in entries:
            if sizes[entry["subcategory"]] >= MIN_EMOJI and entry[f"has_img_{artist}"]:
                label = entry["subcategory"].replace(" & ", "-")
                name = f"{entry['unified'].lower()}-{artist}"
                yield Picture(name, label, _emoji_group(entry["unified"]), images[entry["image"]])


def _emoji_group(unified: str) -> str:
    parts = [part for part in unified.lower().split("-") if part not in SAME_EMOJI]
    return "-".join("person" if part in PERSONS else part for part in parts)


def wesnoth(paths: Sequence[Path]) -> Iterator[Picture]:
    """Figures of a strategy game, drawn by many, 72 x 72. The class is the folder (a people); a group is one figure.

    So the test asks for the people of figures that were never seen, not for another frame of a known one.
    """
    figures: dict[tuple[str, str], list[tuple[str, bytes]]] = defaultdict(list)
    found = list(members(paths[0], "usr/share/games/wesnoth/1.16/data/core/images/units"))
    stems: dict[PurePosixPath, list[str]] = defaultdict(list)
    for path, _ in found:
        stems[path.parent].append(path.stem)
    for path, content in found:
        if len(path.parts) > 1:  # loose files belong to no people
            nested = len(path.parts) > 2
            figure = path.parts[1] if nested else _figure(path.stem, stems[path.parent])
            figures[path.parts[0], figure].append(("-".join(path.with_suffix("").parts[1:]), content))
    count = Counter(people for people, _ in figures)
    for (people, figure), frames in sorted(figures.items()):
        if count[people] >= MIN_FIGURES:
            steps = np.unique(np.linspace(0, len(frames) - 1, min(FRAMES, len(frames))).round().astype(int))
            for name, content in (frames[step] for step in steps):
                yield Picture(name, people, f"{people}/{figure}", content)


def _figure(stem: str, stems: Sequence[str]) -> str:
    """The shortest file name that this one continues: `knight` of `knight-attack-2`."""
    bases = [other for other in stems if stem == other or stem.startswith((f"{other}-", f"{other}+"))]
    return min(bases, key=len)


def stamps(paths: Sequence[Path]) -> Iterator[Picture]:
    """Photographs and drawings, cut out. The class is the folder, as their authors filed them; no mirrored copies."""
    found = [
        (path, content)
        for path, content in members(paths[0], "usr/share/tuxpaint/stamps")
        if not path.stem.endswith(("_mirror", "_flip", "_mirror_flip"))
    ]
    count = Counter(path.parts[0] for path, _ in found)
    for path, content in found:
        label = path.parts[0]
        if count[label] >= MIN_STAMPS:
            yield Picture("-".join(path.with_suffix("").parts[1:]), label, f"{label}/{path.stem}", content)


RECIPES = (
    Recipe(
        "solar",
        "electroluminescence photographs of solar cells: wafer and probability of a defect",
        "CC-BY-NC-SA-4.0 (not for commercial use)",
        (
            Archive(
                "pip",
                "elpv-dataset==1.0.0.post1",
                "85e31c1126ee9b48e62d3a0232c58f58b2d189b0814a45c13642fa0415af4a4c",
            ),
        ),
        solar,
    ),
    Recipe(
        "emoji",
        "colour emoji by Unicode subgroup, Noto and Twemoji",
        "Apache-2.0 (Noto), CC-BY-4.0 (Twemoji)",
        (
            Archive(
                "npm",
                "emoji-datasource-google@16.0.0",
                "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
            ),
            Archive(
                "npm",
                "emoji-datasource-twitter@16.0.0",
                "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
            ),
        ),
        emoji,
    ),
    Recipe(
        "wesnoth",
        "figures of the game Battle for Wesnoth by people",
        "GPL-2.0-or-later",
        (
            Archive(
                "apt",
                "wesnoth-1.16-data=1:1.16.9-1",
                "1012b964bd412a6770685e3324ae3b61e176caff7846192d1ee63d55cd621e26",
            ),
        ),
        wesnoth,
    ),
    Recipe(
        "stamps",
        "cut-out photographs and drawings of Tux Paint by subject",
        "GPL-2.0-only",
        (
            Archive(
                "apt",
                "tuxpaint-stamps-default=2022.06.04-1",
                "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
            ),
        ),
        stamps,
    ),
    Recipe(
        "digits",
        "scans of handwritten digits, 8 x 8 (UCI Optical Recognition of Handwritten Digits, its test part)",
        "BSD-3-Clause (of the package; a copy of a UCI set)",
        (
            Archive(
                "pip",
                "scikit-learn==1.7.2",
                "e5bf3d930aee75a65478df91ac1225ff89cd28e9ac7bd1196853a9229b6adb0b",
                ("--platform", "manylinux2014_x86_64", "--python-version", "3.12"),
            ),
        ),
        digits,
    ),
)
