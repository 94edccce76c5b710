import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from autotl.data.duplicates import Look, equal_pairs, group_ids, look, near_pairs


def photo(seed: int) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((200, 160), Image.Resampling.BICUBIC)


def recompressed(image: Image.Image, scale: float, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.resize((int(image.width * scale), int(image.height * scale))).save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def pairs_of(*images: Image.Image) -> list[tuple[int, int, bool]]:
    return [tuple(pair) for pair in near_pairs([look(i) for i in images], [i.width / i.height for i in images])]


def drawing(x: int, y: int, colour: str = "black") -> Image.Image:
    """A small mark on a large white sheet."""
    image = Image.new("RGB", (200, 200), "white")
    ImageDraw.Draw(image).ellipse((x, y, x + 14, y + 14), fill=colour)
    return image


def test_recompressed_and_resized_copies_are_the_same_picture_and_others_are_not() -> None:
    originals = [photo(seed) for seed in range(40)]
    copies = [recompressed(image, 0.6, 70) for image in originals]
    assert pairs_of(*originals, *copies) == [(n, n + 40, True) for n in range(40)]


def test_small_drawings_on_empty_sheets_are_not_glued_together() -> None:
    assert pairs_of(drawing(20, 20), drawing(150, 40), drawing(90, 160), drawing(20, 160)) == []
    assert pairs_of(drawing(20, 20), drawing(20, 20)) == [(0, 1, True)]


def test_another_colour_or_shape_is_another_picture() -> None:
    square = photo(1).resize((100, 100))
    assert pairs_of(square, square.resize((100, 60))) == []
    assert pairs_of(drawing(90, 90, "red"), drawing(90, 90, "blue")) == []


def test_a_change_in_one_place_is_a_variant_not_the_same_picture() -> None:
    changed = photo(3)
    changed.paste(changed.getpixel((0, 0)), (100, 80, 118, 94))
    found = pairs_of(photo(3), changed)
    assert found in ([(0, 1, False)], [])


def test_thousands_of_nearly_equal_sheets_are_grouped_without_comparing_all_pairs() -> None:
    looks = [Look(0, bytes([200] * 216 + [100 + n % 2] + [100] * 215)) for n in range(5000)]
    found = near_pairs(looks, [1.0] * len(looks))
    assert len(found) < 20 * len(looks)
    assert set(group_ids(len(looks), ((pair.first, pair.second) for pair in found))) == {0}


def test_nothing_and_one_image_have_no_pairs() -> None:
    assert near_pairs([], []) == [] and pairs_of(photo(0)) == []


@given(st.integers(1, 30).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2)))))
def test_groups_are_the_connected_components_numbered_by_first_appearance(
    case: tuple[int, list[tuple[int, int]]],
) -> None:
    count, pairs = case
    groups = group_ids(count, pairs)
    assert all(groups[a] == groups[b] for a, b in pairs)
    reached = {n: {n} for n in range(count)}
    for a, b in pairs:
        union = reached[a] | reached[b]
        for n in union:
            reached[n] = union
    assert all((groups[a] == groups[b]) == (b in reached[a]) for a in range(count) for b in range(count))
    assert list(dict.fromkeys(groups)) == list(range(len(set(groups))))


def test_equal_values_pair_with_their_first_and_none_with_nothing() -> None:
    assert equal_pairs(["a", None, "b", "a", None, "a"]) == [(0, 3), (0, 5)]
