"""What a run must find again when it is gone on with, and what is said of what it does not."""

import shutil
from dataclasses import replace

import pytest
from PIL import Image

from autotl.data.check import check_dataset
from autotl.data.store import Cache
from autotl.errors import DataError, UsageError
from autotl.runs.directory import create_run
from autotl.search.request import SearchRequest, absolute
from autotl.search.unchanged import check_same_images, check_same_space, describe_space, same_request
from autotl.space.files import read_space

SPACE = """
[[stage]]
name = "probe"
recipe = "probe"
trials = 3
[stage.parameters]
backbone = { choice = ["vgg16"] }
penalty = { log = [1e-5, 1e-3] }

[[stage]]
name = "tail"
recipe = "finetune"
trials = 4
"""


@pytest.fixture
def asked(tmp_path):
    request = SearchRequest("sample:clipart", trials=10, seed=3, backbones=("vgg16",), jobs=1, gpus="none")
    return request, create_run(tmp_path / "held", absolute(request).to_json())


def test_the_same_search_is_the_same_wherever_it_is_carried_out(asked):
    request, run = asked
    assert same_request(run, replace(request, out="held")).out is None
    now = same_request(run, replace(request, jobs=4, gpus="all", executor="ray", cache_dir="/elsewhere"))
    assert (now.jobs, now.gpus, now.executor, now.cache_dir, now.seed) == (4, "all", "ray", "/elsewhere", 3)


def test_another_search_is_refused_with_all_that_differs(asked):
    request, run = asked
    other = replace(request, dataset="sample:digits", trials=None, seed=4, budget=60.0)
    with pytest.raises(UsageError) as caught:
        same_request(run, other)
    for words in (
        "dataset was sample:clipart and is sample:digits", "trials was 10 and is nothing", "seed was 3 and is 4",
        "budget was nothing and is 60.0", f"autotl resume {run.path}",
    ):  # fmt: skip
        assert words in str(caught.value)
    assert "backbones" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("trials = 3", "trials = 5", r"stages\[probe\].trials was 3 and is 5"),
        ("1e-3]", "1e-2]", r"stages\[probe\].parameters.penalty.log\[1\] was 0.001 and is 0.01"),
        ('penalty = { log = [1e-5, 1e-3] }\n', "", r"stages\[probe\].parameters.penalty was .* and is nothing"),
        ('name = "tail"', 'name = "deep"', r"stages\[deep\].name was tail and is deep"),
        (SPACE[-60:], "", "stages was "),
    ],
)  # fmt: skip
def test_a_changed_space_is_refused_with_where(tmp_path, old, new, says):
    path = tmp_path / "space.toml"
    path.write_text(SPACE)
    before = describe_space(read_space(path))
    check_same_space(before, path)
    path.write_text("# a comment, and a description\ndescription = 'x'\n" + SPACE)
    check_same_space(before, path)
    changed = SPACE[: SPACE.index("[[stage]]", 20)] if old == SPACE[-60:] else SPACE.replace(old, new)
    assert changed != SPACE
    path.write_text(changed)
    with pytest.raises(UsageError, match=says):
        check_same_space(before, path)
    check_same_space((), path)  # a run of an autotl that did not write it down


@pytest.fixture
def photos(images, tmp_path):
    """A data set of one's own, its manifest, and the check that a resumed run makes."""
    root = shutil.copytree(images, tmp_path / "photos")
    cache = Cache(tmp_path / "scans", 10**9)
    manifest = check_dataset(str(root), seed=0, cache=cache).manifest

    def check(seed=0, same_split=True):
        check_same_images(
            manifest, lambda: check_dataset(str(root), seed=seed, cache=cache).manifest, same_split=same_split
        )

    return root, check


def draw(path, colour):
    Image.new("RGB", (40, 36), colour).save(path)


def test_the_same_images_are_found_again_also_when_they_were_copied_over(photos, images):
    root, check = photos
    check()
    shutil.copyfile(images / "red" / "00.png", root / "red" / "00.png")  # a new time, the same content
    check()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda root: draw(root / "red" / "new.png", (9, 200, 3)), r"1 added \(red/new.png\)"),
        (lambda root: (root / "red" / "03.png").unlink(), r"1 removed \(red/03.png\)"),
        (lambda root: draw(root / "blue" / "05.png", (9, 200, 3)), r"1 changed \(blue/05.png\)"),
        (
            lambda root: [(root / "red" / f"{n:02}.png").unlink() for n in range(7)],
            r"7 removed \(red/00.png, red/01.png, red/02.png, red/03.png, red/04.png, and 2 more\)",
        ),
        (lambda root: root.rename(root.with_name("moved")), "and there is nothing now"),
        (lambda root: shutil.rmtree(root / "red"), r"12 removed \(red/00.png"),
        (lambda root: [shutil.rmtree(root / name) for name in ("red", "blue")], "cannot be used as they are now"),
    ],
)
def test_changed_images_are_refused_with_their_names(photos, change, says):
    root, check = photos
    change(root)
    with pytest.raises(DataError, match=says):
        check()


def test_another_division_is_refused_but_where_the_search_divides_them_itself(photos):
    _, check = photos
    with pytest.raises(DataError, match="another division"):
        check(seed=1)
    check(seed=1, same_split=False)


def test_images_that_were_labelled_anew_are_named(tmp_path, images):
    files = sorted(images.rglob("*.png"))
    rows = [[str(path.relative_to(images)), path.parent.name] for path in files]

    def write():
        (images / "labels.csv").write_text("path,label\n" + "".join(f"{path},{label}\n" for path, label in rows))

    try:
        write()

        def find():
            return check_dataset(str(images / "labels.csv"), cache=Cache(tmp_path / "scans", 10**9)).manifest

        manifest = find()
        check_same_images(manifest, find)
        rows[0][1] = "red"
        write()
        with pytest.raises(DataError, match=r"1 labelled anew \(blue/00.png\)"):
            check_same_images(manifest, find)
    finally:
        (images / "labels.csv").unlink()
