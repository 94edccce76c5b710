"""Making images square: what is kept, where it lies, and what is around it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from autotl.data.decode import RESIZES, to_square
from autotl.data.square import MARGIN, TOLERANCE, edge_colour

SIDES = st.integers(1, 40)
BYTE = st.integers(0, 255)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def framed(content: Image.Image, left: int, top: int, right: int, bottom: int, colour: tuple[int, ...]) -> Image.Image:
    """A picture on a margin of one colour."""
    whole = Image.new("RGB", (content.width + left + right, content.height + top + bottom), colour)
    whole.paste(content, (left, top))
    return whole


@pytest.mark.parametrize("name", RESIZES)
@given(SIDES, SIDES, st.integers(1, 30), st.integers(0, 3))
def test_every_image_becomes_a_square_of_the_size(name: str, width: int, height: int, size: int, seed: int) -> None:
    square = to_square(noise(width, height, seed), size, name)
    assert square.shape == (size, size, 3) and square.dtype == np.uint8


@given(SIDES, st.integers(1, 30), st.integers(0, 3))
def test_a_square_without_a_margin_is_the_same_in_all_ways(side: int, size: int, seed: int) -> None:
    image = noise(side, side, seed)
    np.testing.assert_array_equal(to_square(image, size, "pad"), to_square(image, size, "stretch"))
    if side > 1:  # one pixel is its own edge
        np.testing.assert_array_equal(to_square(image, size, "trim"), to_square(image, size, "stretch"))


@given(st.integers(1, 6), st.integers(2, 8), BYTE)
def test_padding_keeps_proportions_and_takes_the_colour_of_the_edge(unit: int, times: int, grey: int) -> None:
    image = framed(noise(unit * times, unit), 1, 1, 1, 1, (grey, 0, 255 - grey))
    square = to_square(image, image.width, "pad")
    first = (image.width - image.height) // 2
    np.testing.assert_array_equal(square[first : first + image.height], np.asarray(image))
    outside = np.concatenate([square[:first], square[first + image.height :]])
    assert (outside == (grey, 0, 255 - grey)).all()


@given(st.tuples(*[st.integers(1, 60)] * 4), st.integers(20, 30), st.integers(20, 30))
def test_what_lies_around_the_content_changes_nothing_but_the_margin_that_stays(
    margins: tuple[int, ...], width: int, height: int
) -> None:
    """The content fills the square but for the margin, wherever it lay and however small it was."""
    content = Image.new("RGB", (width, height), (0, 0, 0))
    image = framed(content, *margins, colour=(250, 250, 250))
    kept = round(MARGIN * max(image.size))
    left, top, right, bottom = (min(kept, margin) for margin in margins)
    expected = to_square(framed(content, left, top, right, bottom, (250, 250, 250)), 32, "pad")
    np.testing.assert_array_equal(to_square(image, 32, "trim"), expected)


@given(st.integers(0, 255 - TOLERANCE), st.integers(0, 3))
def test_noise_within_the_tolerance_is_a_margin(grey: int, seed: int) -> None:
    wavering = np.random.default_rng(seed).integers(0, TOLERANCE // 2 + 1, (60, 60, 3))
    pixels = (grey + wavering).astype(np.uint8)
    pixels[20:40, 20:40] = 255 - grey if abs(255 - 2 * grey) > 3 * TOLERANCE else (grey + 128) % 256
    kept = round(MARGIN * 60)
    cut = Image.fromarray(pixels[20 - kept : 40 + kept, 20 - kept : 40 + kept])
    np.testing.assert_allclose(
        to_square(Image.fromarray(pixels), 24, "trim").astype(int), to_square(cut, 24, "stretch").astype(int), atol=1
    )


def test_an_image_of_one_colour_stays_whole() -> None:
    image = Image.new("RGB", (30, 10), (7, 8, 9))
    assert (to_square(image, 6, "trim") == (7, 8, 9)).all() and edge_colour(image) == (7, 8, 9)


def test_a_speck_in_a_corner_does_not_decide_what_the_edge_is() -> None:
    image = framed(noise(8, 8), 10, 10, 10, 10, (255, 255, 255))
    image.putpixel((0, 0), (0, 0, 0))
    assert edge_colour(image) == (255, 255, 255)


@given(st.integers(200, 400))
def test_a_thread_of_an_image_keeps_a_pixel(length: int) -> None:
    thread = Image.new("RGB", (length, 1), (0, 0, 0))
    assert (to_square(thread, 20, "pad") == 0).all()
