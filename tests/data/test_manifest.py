from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotl.data.manifest import SPLITS, Manifest, Sample
from autotl.errors import DataError

text = st.text(st.characters(exclude_categories=["Cs"])) | st.text('\r\n",;# \udc80\udcff')


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    classes = tuple(draw(st.lists(text, min_size=1, max_size=4, unique=True)))
    sample = st.builds(
        Sample,
        path=text,
        label=st.integers(0, len(classes) - 1),
        split=st.sampled_from(SPLITS),
        group=st.integers(0, 10**9),
        sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
    )
    return Manifest(draw(text), classes, tuple(draw(st.lists(sample, max_size=5))))


@settings(deadline=None)  # the machine may be busy
@given(manifests())
def test_a_manifest_survives_the_round_trip_exactly(
    tmp_path_factory: pytest.TempPathFactory, manifest: Manifest
) -> None:
    path = tmp_path_factory.mktemp("manifest") / "manifest.csv"
    manifest.write(path)
    assert Manifest.read(path) == manifest
    assert [item.name for item in path.parent.iterdir()] == ["manifest.csv"]


SAMPLES = (Sample("a", 0, "train", 0, "x"), Sample("b", 1, "test", 1, "y"), Sample("c", 1, "val", 2, "z"))
MANIFEST = Manifest("/root", ("cat", "dog"), SAMPLES)


def test_rows_and_labels() -> None:
    assert MANIFEST.rows("train", "val").tolist() == [0, 2] and MANIFEST.rows("test").dtype == np.int64
    assert MANIFEST.labels().tolist() == [0, 1, 1]
    with pytest.raises(ValueError, match="holdout"):
        MANIFEST.rows("holdout")


def test_the_fingerprint_knows_content_order_and_classes_but_neither_root_nor_split() -> None:
    moved = Manifest("/else", MANIFEST.classes, (Sample("q", 0, "val", 5, "x"), *SAMPLES[1:]))
    assert moved.fingerprint == MANIFEST.fingerprint and moved.split_fingerprint != MANIFEST.split_fingerprint
    assert Manifest("/root", MANIFEST.classes, SAMPLES[::-1]).fingerprint != MANIFEST.fingerprint
    assert Manifest("/root", ("cat", "cow"), SAMPLES).fingerprint != MANIFEST.fingerprint


@pytest.mark.parametrize("content", [b"", b"path,label\n", b"# {}\r\n", b"\xff\xfe"])
def test_other_files_are_no_manifests(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        Manifest.read(tmp_path / "m.csv")
    with pytest.raises(DataError, match="cannot be read"):
        Manifest.read(tmp_path / "missing.csv")
