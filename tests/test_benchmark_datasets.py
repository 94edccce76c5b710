"""The pure parts of the benchmarks: building a data set from an archive, intervals, tables, derived spaces."""

import hashlib
import io
import json
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))  # its scripts import each other by name

import ablation_table
import ablations
import dataset_archives
import dataset_recipes
import datasets
import intervals
import plots
import variants

from autotl.space.faults import find_faults

BACKBONES = ["efficientnet-lite0"]


def noise_png(seed: int, mode: str = "RGB", side: int = 16) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, len(mode)), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels, mode).save(buffer, "png")
    return buffer.getvalue()


@pytest.fixture
def stamps_deb_like_tar(tmp_path):
    """Two subjects of 30 stamps each, one of 3, and a mirrored copy."""
    path = tmp_path / "stamps.tgz"
    files = {
        f"{label}/wild/{label}{i:02}.png": noise_png(100 * n + i) for n, label in enumerate("ab") for i in range(30)
    }
    files |= {f"rare/{i}.png": noise_png(900 + i) for i in range(3)} | {"a/wild/a00_mirror.png": noise_png(990)}
    files["a/readme.txt"] = b"not a picture"
    with tarfile.open(path, "w:gz") as tar:
        for name, content in reversed(files.items()):
            info = tarfile.TarInfo(f"./usr/share/tuxpaint/stamps/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_members_of_an_archive_come_sorted_and_below_the_folder(stamps_deb_like_tar):
    found = [str(path) for path, _ in dataset_archives.members(stamps_deb_like_tar, "usr/share/tuxpaint/stamps/rare")]
    assert found == ["0.png", "1.png", "2.png"]


def test_members_of_a_wheel_are_read_too(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.whl", "w") as archive:
        archive.writestr("pack/images/cell1.png", b"one")
        archive.writestr("pack/labels.csv", b"labels")
    found = list(dataset_archives.members(tmp_path / "set.whl", "pack/images"))
    assert [(path.name, content) for path, content in found] == [("cell1.png", b"one")]


def test_stamps_leave_out_rare_subjects_and_mirrored_copies(stamps_deb_like_tar):
    pictures = list(dataset_recipes.stamps([stamps_deb_like_tar]))
    assert {picture.label for picture in pictures} == {"a", "b"}
    assert len(pictures) == 60
    assert pictures[0].name == "wild-a00"


def recipe_for(path: Path) -> tuple[dataset_recipes.Recipe, dataset_recipes.Archive]:
    archive = dataset_recipes.Archive("pip", "nothing==0", hashlib.sha256(path.read_bytes()).hexdigest())
    return dataset_recipes.Recipe("fake", "noise", "none", (archive,), dataset_recipes.stamps), archive


def test_a_built_set_has_every_picture_once_and_a_third_in_test(stamps_deb_like_tar, tmp_path):
    recipe, _ = recipe_for(stamps_deb_like_tar)
    summary = datasets.build(recipe, tmp_path / "set", stamps_deb_like_tar.parent)
    files = sorted(path.relative_to(tmp_path / "set") for path in (tmp_path / "set").rglob("*.png"))
    assert len(files) == len({path.name for path in files}) == summary["images"] == 60
    assert {path.parts[:2] for path in files} == {(split, label) for split in ("train", "test") for label in "ab"}
    assert summary["test"] == 20
    assert summary["train"] == 40


def test_building_twice_gives_the_same_files(stamps_deb_like_tar, tmp_path):
    recipe, _ = recipe_for(stamps_deb_like_tar)
    listings = []
    for name in ("one", "two"):
        datasets.build(recipe, tmp_path / name, stamps_deb_like_tar.parent)
        root = tmp_path / name
        listings.append({str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.png")})
    assert listings[0] == listings[1]


def test_a_folder_that_is_not_empty_is_not_written_into(stamps_deb_like_tar, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine.txt").write_text("mine")
    recipe, _ = recipe_for(stamps_deb_like_tar)
    with pytest.raises(SystemExit, match="empty folder"):
        datasets.build(recipe, tmp_path / "set", stamps_deb_like_tar.parent)


def test_an_archive_with_another_content_is_refused(tmp_path, monkeypatch):
    source = tmp_path / "source.txt"
    source.write_text("not what it was")
    monkeypatch.setitem(datasets.CLIENTS, "copy", ["cp", str(source)])
    archive = dataset_recipes.Archive("copy", "fetched.txt", "0" * 64)
    with pytest.raises(SystemExit, match="Results would not compare"):
        datasets.fetch(archive, tmp_path / "archives")
    assert list((tmp_path / "archives").iterdir()) == []


def test_an_archive_is_fetched_once(tmp_path, monkeypatch):
    source = tmp_path / "source.txt"
    source.write_text("content")
    monkeypatch.setitem(datasets.CLIENTS, "copy", ["cp", str(source)])
    archive = dataset_recipes.Archive("copy", "fetched.txt", hashlib.sha256(b"content").hexdigest())
    first = datasets.fetch(archive, tmp_path / "archives")
    source.unlink()
    assert datasets.fetch(archive, tmp_path / "archives") == first


def test_near_duplicates_and_given_groups_stay_on_one_side():
    groups = [f"{label}{number}" for label in "ab" for number in range(12)]
    pictures = [
        dataset_archives.Picture(f"{group}-{copy}", group[0], group, noise_png(3 * index + copy))
        for index, group in enumerate(groups)
        for copy in range(2)
    ]
    twin = pictures[0]._replace(name="twin", group="alone", content=noise_png(0, side=16))
    kept = datasets.place([*pictures, twin])
    sides = {}
    for item in kept:
        sides.setdefault("a0" if item.picture.name == "twin" else item.picture.group, set()).add(item.split)
    assert all(len(side) == 1 for side in sides.values())
    assert {item.split for item in kept} == {"train", "test"}


def test_transparent_pictures_are_put_on_white(tmp_path):
    clear = np.zeros((8, 8, 4), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(clear, "RGBA").save(buffer, "png")
    picture = dataset_archives.Picture("clear", "a", "a", buffer.getvalue())
    datasets.write([datasets.Kept(picture, 0, "train")], tmp_path / "set")
    with Image.open(tmp_path / "set" / "train" / "a" / "clear.png") as image:
        assert image.mode == "RGB"
        assert image.getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1F468-200D-1F3EB", "1F469-200D-1F3EB"),
        ("1F3C3-200D-2640-FE0F", "1F3C3"),
        ("1F9D1-200D-1F3EB", "1F468-200D-1F3EB"),
    ],
)
def test_variants_of_an_emoji_are_one_group(one, other):
    assert dataset_recipes._emoji_group(one) == dataset_recipes._emoji_group(other)


def test_frames_of_a_figure_are_one_group():
    stems = ["knight", "knight-attack-1", "knightly", "knight+female-defend"]
    assert [dataset_recipes._figure(stem, stems) for stem in stems] == ["knight", "knight", "knightly", "knight"]


def test_every_recipe_has_a_licence_and_a_whole_checksum():
    for recipe in dataset_recipes.RECIPES:
        assert recipe.licence
        assert all(len(archive.sha256) == 64 and archive.client in datasets.CLIENTS for archive in recipe.archives)


def test_an_interval_is_students():
    mean = intervals.mean_of([1.0, 2.0, 3.0])
    assert mean.mean == 2.0
    assert mean.half_width == pytest.approx(4.303 / 3**0.5)
    assert mean.text(2) == "2.00 ± 2.48"


def test_one_value_has_no_interval():
    assert intervals.mean_of([0.5]) == (0.5, None, 1)
    assert intervals.mean_of([0.5]).text(1, sign=True) == "+0.5"


def test_differences_are_of_seeds_that_both_have():
    assert intervals.paired_differences({0: 3.0, 1: 5.0}, {1: 4.0, 2: 9.0}) == {1: 1.0}


@pytest.mark.parametrize("variant", [*variants.ablations(BACKBONES), *variants.peers(BACKBONES)], ids=lambda v: v.name)
@pytest.mark.parametrize("endless", [True, False])
def test_every_variant_is_a_space_without_faults(variant, endless):
    raw = tomllib.loads(variants.write_toml(variant.space(endless=endless)))
    assert raw == variant.space(endless=endless)
    assert find_faults(raw) == []


def test_a_single_default_searches_nothing():
    default = next(v for v in variants.ablations(BACKBONES) if v.name.startswith("default "))
    (stage,) = default.space(endless=True)["stage"]
    assert stage["trials"] == 1
    assert {len(parameter["choice"]) for parameter in stage["parameters"].values()} == {1}


def record(variant: str, seed: int, accuracy: float, seconds: float = 60.0, dataset: str = "set") -> dict:
    test = {"accuracy": accuracy, "balanced_accuracy": accuracy - 0.1, "log_loss": 1.0}
    result = {
        "test": test,
        "trials": {"complete": 3, "failed": 0},
        "counts": {"images_forwarded": 100},
        "cost": {"train": 2.0},
    }
    limits = {"budget": "4m", "trials": None, "code": "abc"}
    return {"dataset": dataset, "variant": variant, "seed": seed, "wall_seconds": seconds, "result": result, **limits}


ABOUT = {"full": "all of it", "no gate": "without the gate"}
MACHINE = {
    "cores": 2, "processor": "one", "memory_gib": 8, "load": 0.0, "python": "3", "keras_backend": "jax", "versions": {},
}  # fmt: skip


def test_the_table_has_means_and_paired_differences():
    records = [record("full", 0, 0.7), record("full", 1, 0.5), record("no gate", 0, 0.69), record("no gate", 1, 0.49)]
    summary, text = ablation_table.report(records, ABOUT, "ablations", MACHINE)
    row = summary["datasets"]["set"]["no gate"]
    assert row["accuracy"]["mean"] == pytest.approx(0.59)
    assert row["difference"] == {"mean": pytest.approx(-0.01), "half_width": pytest.approx(0.0), "n": 2}
    assert "| no gate | 2 | 0.5900 ± 1.2706 | -0.0100 ± 0.0000 |" in text
    assert "the wall time 4m" in text
    json.dumps(summary)


def test_the_cost_ledger_is_in_the_table():
    search = record("full", 0, 0.7)
    search["result"] |= {
        "counts": {"images_forwarded": 762, "images_trained": 2432, "traces": 2, "multiply_adds_forwarded": 3e12},
        "work": {"cost_units": 5.25, "rho_alg": 2.0},
    }
    summary, text = ablation_table.report([search], ABOUT, "ablations", MACHINE)
    assert summary["datasets"]["set"]["full"]["rho_alg"] == 2.0
    assert "| 762 | 2432 | 2 | 3.00 | 5.25 | 2.00 |" in text


def test_pooled_differences_need_a_seed_on_all_data_sets():
    records = [
        record(variant, seed, accuracy, dataset=dataset)
        for dataset in ("one", "two")
        for variant, seed, accuracy in (("full", 0, 0.6), ("no gate", 0, 0.5), ("full", 1, 0.6), ("no gate", 1, 0.7))
    ]
    pooled = ablation_table.pool(records[:-1], list(ABOUT))
    assert pooled["no gate"]["n"] == 1
    assert pooled["no gate"]["mean"] == pytest.approx(-0.1)


def test_failed_searches_are_named_and_in_no_mean():
    failed = {**record("no gate", 1, 0.0), "error": "Traceback\nError: out of time\n"}
    del failed["result"]
    summary, text = ablation_table.report([record("full", 0, 0.7), failed], ABOUT, "ablations", MACHINE)
    assert list(summary["datasets"]["set"]) == ["full"]
    assert "| set | no gate | 1 | Error: out of time |" in text


def test_a_mixture_of_code_states_is_said():
    records = [record("full", 0, 0.7), {**record("no gate", 0, 0.7), "code": "def"}]
    assert "2 states of autotl's code" in ablation_table.report(records, ABOUT, "ablations", MACHINE)[1]


def test_finished_searches_survive_a_line_that_was_cut_off(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text(json.dumps(record("full", 0, 0.7)) + "\n" + json.dumps(record("full", 0, 0.8)) + '\n{"dataset": "s')
    (found,) = ablations.read_lines(path)
    assert found["result"]["test"]["accuracy"] == 0.8


def test_the_plot_has_a_panel_for_each_set_and_every_variant_in_its_legend(tmp_path):
    rows = ablation_table.summarise([record("full", 0, 0.7), record("no gate", 0, 0.6, 30.0)], list(ABOUT))
    plots.draw({"one": rows, "two": rows}, tmp_path / "plot.svg")
    drawn = (tmp_path / "plot.svg").read_text()
    assert all(f"<!-- {text} -->" in drawn for text in ("one", "two", "full", "no gate", "wall seconds"))
