import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from autotl.data.decode import DRAFT_SIDE, MAX_PIXELS, RESIZES, ImageError, decode, load_square, resize_rule, to_square


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def red(mode: str = "RGB") -> Image.Image:
    return Image.new("RGB", (12, 8), (255, 0, 0)).convert(mode)


def first_pixel(content: bytes) -> tuple[int, ...]:
    return tuple(np.asarray(decode(content).image)[0, 0].tolist())


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has no pixels to back it up."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"")
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, data, b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_every_format_of_the_list_decodes_by_content(kind: str) -> None:
    decoded = decode(encode(red(), kind))
    assert (decoded.format, decoded.width, decoded.height, decoded.image.mode) == (kind, 12, 8, "RGB")
    assert np.abs(np.asarray(decoded.image)[4, 6].astype(int) - [255, 0, 0]).max() < 8


@pytest.mark.parametrize("mode", ["P", "CMYK", "1", "L"])
def test_other_colour_modes_become_rgb(mode: str) -> None:
    decoded = decode(encode(red(mode), "TIFF"))
    assert decoded.image.mode == "RGB" and decoded.image.size == (12, 8)
    assert any("converted" in note for note in decoded.notes)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_composed_on_white(mode: str) -> None:
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0)).convert(mode)
    assert first_pixel(encode(clear, "PNG")) == (255, 255, 255)
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 128)).convert(mode)
    assert 120 <= first_pixel(encode(half, "PNG"))[0] <= 135


def test_a_transparent_palette_colour_becomes_white() -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([0, 0, 0, 255, 0, 0])
    decoded = decode(encode(image, "PNG", transparency=0))
    assert np.asarray(decoded.image).min() == 255 and "transparency on white" in decoded.notes


def test_a_transparent_grey_or_rgb_colour_key_becomes_white() -> None:
    assert first_pixel(encode(Image.new("L", (4, 4), 7), "PNG", transparency=7)) == (255, 255, 255)
    assert first_pixel(encode(Image.new("RGB", (4, 4), (7, 8, 9)), "PNG", transparency=(7, 8, 9))) == (255, 255, 255)


def test_an_opaque_alpha_channel_changes_nothing_and_needs_no_note() -> None:
    decoded = decode(encode(red("RGBA"), "PNG"))
    assert decoded.notes == () and tuple(np.asarray(decoded.image)[0, 0]) == (255, 0, 0)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_divided_by_256_instead_of_clipped(kind: str) -> None:
    values = np.array([[0, 256, 32768, 65535]], dtype=np.uint16)
    pixels = np.asarray(decode(encode(Image.fromarray(values), kind)).image)
    assert pixels[0, :, 0].tolist() == [0, 1, 128, 255]


def test_float_grey_is_stretched_from_minimum_to_maximum() -> None:
    values = np.array([[-1.0, 0.0, 1.0]], dtype=np.float32)
    assert np.asarray(decode(encode(Image.fromarray(values), "TIFF")).image)[0, :, 0].tolist() == [0, 127, 255]
    constant = np.full((2, 2), np.nan, dtype=np.float32)
    assert np.asarray(decode(encode(Image.fromarray(constant), "TIFF")).image).max() == 0


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_exif_orientation_is_applied(orientation: int, kind: str) -> None:
    upright = Image.new("RGB", (16, 8), "white")
    upright.paste("black", (0, 0, 8, 4))  # the upper left quarter
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Image.Transpose that turns upright into what is stored
    stored = upright.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode(encode(stored, kind, exif=exif))
    assert (decoded.width, decoded.height) == decoded.image.size == (16, 8)
    assert np.abs(np.asarray(decoded.image).astype(int) - np.asarray(upright)).max() < 10


def test_an_animation_gives_its_first_frame() -> None:
    content = encode(red(), "GIF", save_all=True, append_images=[Image.new("RGB", (12, 8), "blue")])
    decoded = decode(content)
    assert "animation: first frame" in decoded.notes
    assert tuple(np.asarray(decoded.image)[0, 0]) == (255, 0, 0)


def test_large_jpegs_are_decoded_at_a_reduced_scale_and_report_their_true_size() -> None:
    side = 2 * DRAFT_SIDE + 10
    large = decode(encode(Image.new("RGB", (side, side), "red"), "JPEG"))
    assert (large.width, large.height) == (side, side)
    assert DRAFT_SIDE <= large.image.width < side
    flat = decode(encode(Image.new("RGB", (side, 300), "red"), "JPEG"))
    assert flat.image.size == (side, 300)


@pytest.mark.parametrize("size", [(20990, 29700), (10562, 16000), (9500, 10600)])
def test_the_pixel_cap_works_on_the_header_without_pillows_own_warning(size: tuple[int, int]) -> None:
    with warnings.catch_warnings(), pytest.raises(ImageError) as caught:
        warnings.simplefilter("error")
        decode(png_header(*size))
    assert caught.value.reason == "too large"


def test_the_pixel_cap_can_be_set_and_pillows_limit_is_left_alone() -> None:
    before = Image.MAX_IMAGE_PIXELS
    with pytest.raises(ImageError, match="12 x 8"):
        decode(encode(red(), "PNG"), max_pixels=95)
    assert decode(encode(red(), "PNG"), max_pixels=96).width == 12
    assert before == Image.MAX_IMAGE_PIXELS and MAX_PIXELS == 100_000_000


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_truncated_files_are_refused_in_every_format(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = encode(Image.fromarray(noise), kind)
    with pytest.raises(ImageError) as caught:
        decode(content[: len(content) // 2])
    assert caught.value.reason in {"truncated", "unsupported"}


@pytest.mark.parametrize("content", [b"", b"hello", b"<svg/>", b"%PDF-1.7", bytes(1000)])
def test_what_is_no_image_is_said_to_be_none(content: bytes) -> None:
    with pytest.raises(ImageError) as caught:
        decode(content)
    assert caught.value.reason == "not an image"


def test_formats_outside_the_list_are_not_opened() -> None:
    with pytest.raises(ImageError) as caught:
        decode(encode(red(), "PPM"))
    assert caught.value.reason == "not an image"


@pytest.mark.parametrize("resize", RESIZES)
def test_load_square_is_decode_and_a_way_to_make_it_square(resize: str) -> None:
    content = encode(red("RGBA"), "PNG")
    square = load_square(content, 5, resize)
    assert square.shape == (5, 5, 3) and square.dtype == np.uint8
    assert np.array_equal(square, to_square(decode(content).image, 5, resize))


def test_ways_to_make_images_square_have_rules_of_their_own() -> None:
    rules = [resize_rule(resize) for resize in RESIZES]
    assert [rule["mode"] for rule in rules] == ["stretch", "pad", "trim"]
    assert len({tuple(rule) for rule in rules}) == 3  # one says more than the other
