"""The generated script: short, and exact about pixels and cells. Running it is tested with the formats."""

import ast
import csv
import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from autotl.data.decode import RESIZES, ImageError, load_square
from autotl.data.samples import resolve_dataset
from autotl.errors import AutotlError
from autotl.exporters.registry import list_exporters, load_exporter
from autotl.exporters.script import render_script, write_script
from autotl.exporters.script_body import cell, read_image

_EXIF_ORIENTATION = 0x0112


def picture(mode="RGB", side=(90, 70)):
    channels = {"RGB": (3,), "RGBA": (4,), "LA": (2,), "L": (), "CMYK": (4,)}[mode]
    noise = np.random.default_rng(0).integers(0, 256, (7, 9, *channels), dtype=np.uint8)
    return Image.fromarray(noise, mode).resize(side, Image.Resampling.BICUBIC)


def turned(orientation):
    exif = Image.Exif()
    exif[_EXIF_ORIENTATION] = orientation
    return exif


def transparent_palette():
    image = picture().quantize(16)
    image.info["transparency"] = 3
    return image


def deep():
    return Image.fromarray(np.random.default_rng(1).integers(0, 65536, (40, 50)).astype(np.uint16))


def floats():
    noise = np.random.default_rng(2).normal(3, 50, (40, 50)).astype(np.float32)
    holes = np.where(noise > 90, np.inf, np.where(noise < -90, -np.inf, np.where(abs(noise) < 5, np.nan, noise)))
    ramp = np.linspace(0, 1, 2000).reshape(40, 50)
    kinds = {
        "noise": noise,
        "with holes": holes,
        "ramp": ramp,
        "all the same": np.full((9, 9), 7),
        "tiny": ramp * 1e-30,
    }
    return {name: values.astype(np.float32) for name, values in kinds.items()} | {
        "none of them a number": np.full((9, 9), np.nan, dtype=np.float32)
    }


FILES = {
    "rgb": (picture(), "PNG", {}),
    "grey": (picture("L"), "PNG", {}),
    "transparent": (picture("RGBA"), "PNG", {}),
    "transparent grey": (picture("LA"), "PNG", {}),
    "opaque": (Image.merge("RGBA", [*picture().split(), Image.new("L", (90, 70), 255)]), "PNG", {}),
    "palette": (picture().quantize(16), "PNG", {}),
    "transparent palette": (transparent_palette(), "PNG", {"transparency": 3}),
    "bilevel": (picture("L").convert("1"), "PNG", {}),
    "16 bit": (deep(), "PNG", {}),
    "16 bit TIFF": (deep(), "TIFF", {}),
    "32 bit TIFF": (Image.fromarray(np.arange(-5, 70000, 7, dtype=np.int32)[:10000].reshape(100, 100)), "TIFF", {}),
    **{f"floats {name}": (Image.fromarray(values), "TIFF", {}) for name, values in floats().items()},
    "JPEG": (picture(), "JPEG", {"quality": 80}),
    "CMYK": (picture("CMYK"), "JPEG", {}),
    "large JPEG": (picture(side=(2300, 2100)), "JPEG", {}),
    "GIF": (picture().quantize(16), "GIF", {}),
    "animation": (picture(), "GIF", {"save_all": True, "append_images": [picture("L")]}),
    "BMP": (picture(), "BMP", {}),
    "WebP": (picture("RGBA"), "WEBP", {}),
    **{f"orientation {n}": (picture(), "JPEG", {"exif": turned(n)}) for n in (0, *range(2, 10))},
    "turned PNG": (picture("RGBA"), "PNG", {"exif": turned(6)}),
    "turned TIFF": (picture(), "TIFF", {"exif": turned(8)}),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_it_sees_the_pixels_of_training(name, tmp_path):
    image, kind, options = FILES[name]
    path = tmp_path / "picture"
    image.save(path, kind, **options)
    np.testing.assert_array_equal(read_image(path, 33), load_square(path.read_bytes(), 33))


@pytest.mark.parametrize("resize", ["pad", "trim"])
@pytest.mark.parametrize("side", [(90, 70), (40, 90), (50, 50)])
def test_it_makes_images_square_as_in_training(resize, side, tmp_path):
    whole = Image.new("RGB", (130, 110), "white")
    whole.paste(picture(side=side), (20, 10))
    whole.save(tmp_path / "picture.png")
    expected = load_square((tmp_path / "picture.png").read_bytes(), 33, resize)
    np.testing.assert_array_equal(read_image(tmp_path / "picture.png", 33, RESIZES[resize]), expected)


def test_it_sees_the_pixels_of_training_in_real_files(tmp_path):
    with zipfile.ZipFile(resolve_dataset("sample:clipart")) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")][::20]
        assert len(names) > 5
        for name in names:
            content, path = archive.read(name), tmp_path / "file"
            path.write_bytes(content)
            np.testing.assert_array_equal(read_image(path, 48), load_square(content, 48))


@given(st.binary(max_size=60), st.integers(0, 2**16))
def test_no_damaged_file_is_taken_for_an_image_that_training_would_refuse(noise, place):
    """Either both read the same pixels, or the script refuses too."""
    content = bytearray(_content())
    place %= len(content)
    content[place : place + len(noise)] = noise
    try:
        expected = load_square(bytes(content), 8)
    except ImageError:
        expected = None
    try:
        found = read_image(io.BytesIO(content), 8)
    except Exception:  # as its `main` does
        return
    assert expected is not None
    np.testing.assert_array_equal(found, expected)


def _content():
    file = io.BytesIO()
    picture(side=(20, 15)).save(file, "PNG")
    return file.getvalue()


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
def test_a_cell_is_read_back_as_it_was_or_with_an_apostrophe_before_it(texts):
    line = ",".join(map(cell, texts))
    (row,) = csv.reader(io.StringIO(line, newline=""))
    for text, found in zip(texts, row, strict=True):
        assert found == ("'" + text if text[:1] in tuple("=+-@\t\r") else text)


@pytest.mark.parametrize("name", [listing.name for listing in list_exporters()])
def test_a_script_is_short_and_valid_and_names_what_it_needs(name, tmp_path):
    exporter = load_exporter(name)
    path = write_script(exporter, tmp_path, 160)
    text = path.read_text(encoding="utf-8")
    assert path.name == "predict.py" and path.stat().st_mode & 0o111
    assert len(text.splitlines()) < 60 and max(map(len, text.splitlines())) <= 125
    compile(text, "predict.py", "exec")
    assert "import autotl" not in text and "from autotl" not in text
    assert text.endswith(", 160)\n")
    assert [path.name for path in tmp_path.iterdir()] == ["predict.py"]
    other = write_script(exporter, tmp_path, 160, "trim").read_text(encoding="utf-8")
    assert other.endswith(", 160, trim)\n") and "\nfrom square import trim\n" in other and len(other.splitlines()) < 60
    assert "autotl" not in ast.unparse(ast.parse((tmp_path / "square.py").read_text(encoding="utf-8")).body[1:])
    for package in exporter.runtime_packages.values():
        assert package in text.splitlines()[1]


def test_a_runtime_without_a_text_is_its_authors_fault():
    with pytest.raises(AutotlError, match="Tell its author"):
        render_script(replace(load_exporter("onnx"), runtime="no_such_module_of_anybody"), 32)
