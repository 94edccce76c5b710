"""How an upright image is made square. A copy of this module lies beside scripts that need it: it imports no autotl.

A network sees `stretch` without a word of where an image was longer; `pad` keeps its proportions, and `trim` those of
what is on it: drawings, scans and products lie on a margin of one colour, which would take pixels and says nothing.
"""

import numpy as np
from PIL import Image, ImageChops

TOLERANCE = 8  # of 255, in each channel: what a JPEG makes of one colour
MARGIN = 0.03  # of the longer side, left around what is kept: kernels need some background at an edge


def stretch(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The whole of an RGB image, each side at its own scale, in (width, height) pixels."""
    return image.resize(size, Image.Resampling.BICUBIC)


def pad(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The whole of an RGB image in its proportions, as large as fits, centred on the colour of its edge."""
    return _centred(image, size, edge_colour(image))


def trim(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """As `pad`, without the margins that have the colour of the edge."""
    colour = edge_colour(image)
    difference = ImageChops.difference(image, Image.new("RGB", image.size, colour))
    content = difference.point([255 * (value > TOLERANCE) for value in range(256)] * 3).getbbox()
    left, top, right, bottom = content or (0, 0, *image.size)
    kept = round(MARGIN * max(image.size))
    box = (max(left - kept, 0), max(top - kept, 0), min(right + kept, image.width), min(bottom + kept, image.height))
    return _centred(image.crop(box), size, colour)


def edge_colour(image: Image.Image) -> tuple[int, ...]:
    """The median of the outermost pixels of an RGB image, channel by channel, rounded down."""
    width, height = image.size
    sides = ((0, 0, width, 1), (0, height - 1, width, height), (0, 0, 1, height), (width - 1, 0, width, height))
    pixels = np.concatenate([np.asarray(image.crop(side)).reshape(-1, 3) for side in sides])
    return tuple(int(value) for value in np.median(pixels, axis=0))


def _centred(image: Image.Image, size: tuple[int, int], colour: tuple[int, ...]) -> Image.Image:
    scale = min(size[0] / image.width, size[1] / image.height)
    width, height = max(1, round(scale * image.width)), max(1, round(scale * image.height))
    whole = Image.new("RGB", size, colour)
    whole.paste(stretch(image, (width, height)), ((size[0] - width) // 2, (size[1] - height) // 2))
    return whole
