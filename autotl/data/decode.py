"""The one decode function: bytes in, an upright RGB image out, or a reason why not.

Training, `predict` and `evaluate` all go through here, so that a model sees in use what it saw in training. Nothing
depends on file names, on Pillow's global limits or on the warning filters, and every function is safe in threads.
"""

import io
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import (  # each import registers its format in Image.OPEN
    AvifImagePlugin,  # noqa: F401
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    JpegImagePlugin,
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    WebPImagePlugin,  # noqa: F401
)

from autotl.data.square import MARGIN, TOLERANCE, pad, stretch, trim
from autotl.errors import DataError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
MAX_PIXELS = 100_000_000
MAX_FILE_BYTES = 256 * 2**20
DRAFT_SIDE = 1024
"""JPEGs at least twice this long on both sides are decoded at 1/2, 1/4 or 1/8 by libjpeg, never below this side."""
DECODE_VERSION = 1
"""Part of every cache key: raise it when the same bytes give other pixels than before."""
STRETCH = "stretch"
RESIZES = {STRETCH: stretch, "pad": pad, "trim": trim}
"""Ways to make an image square, by the names that search spaces and `autotl.json` have for them."""

Reason = Literal["not an image", "truncated", "too large", "unsupported", "refused"]
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EXIF_ORIENTATION = 0x0112


class ImageError(DataError):
    """One file that cannot be used as an image; `reason` is the machine-readable kind."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: Reason = reason


class Decoded(NamedTuple):
    """An upright RGB image with what was learned on the way; `width` and `height` are those of the file, upright."""

    image: Image.Image
    format: str
    width: int
    height: int
    notes: tuple[str, ...]


def decode(content: bytes, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Decode one file completely: the first frame, upright, as RGB, transparency composed on white.

    16-bit and 32-bit integer grey is divided by 256, float grey is stretched from its minimum to its maximum. Large
    JPEGs are decoded at a reduced scale (`DRAFT_SIDE`); that depends on the bytes alone, never on the target size.

    Raises:
        ImageError: With `reason` "not an image", "truncated" (or damaged), "too large" or "unsupported".
    """
    if len(content) > MAX_FILE_BYTES:
        raise ImageError("too large", f"{len(content)} bytes; the limit is {MAX_FILE_BYTES}")
    format_name, image = _open(content)
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError("too large", f"{width} x {height} pixels; the limit is {max_pixels} pixels")
    notes: list[str] = []
    try:
        if _is_animated(image):
            notes.append("animation: first frame")
        if isinstance(image, JpegImagePlugin.JpegImageFile):
            image.draft(image.mode, (DRAFT_SIDE, DRAFT_SIDE))
        image.load()
        # Read after load(): PNG keeps EXIF at its end, and TIFF turns itself and forgets the tag.
        orientation = _orientation(image, notes)
        loaded_landscape = image.width > image.height
        rgb = _to_rgb(image, notes)
    except Exception as error:  # codecs fed with hostile bytes raise anything; one bad file must not end a scan
        raise _as_image_error(error) from error
    if loaded_landscape != (width > height) and width != height:  # a TIFF that turned itself
        width, height = height, width
    if orientation in _UPRIGHT:
        rgb = rgb.transpose(_UPRIGHT[orientation])
        notes.append("EXIF orientation applied")
        if orientation >= 5:
            width, height = height, width
    return Decoded(rgb, format_name, width, height, tuple(notes))


def load_square(content: bytes, image_size: int, resize: str = STRETCH, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """`decode` and `to_square` in one: uint8 `[S, S, 3]`, the same pixels that an ImageStore holds."""
    return to_square(decode(content, max_pixels).image, image_size, resize)


def to_square(image: Image.Image, image_size: int, resize: str = STRETCH) -> np.ndarray:
    """An upright RGB image as uint8 `[S, S, 3]`, by one of `RESIZES`."""
    return np.asarray(RESIZES[resize](image, (image_size, image_size)), dtype=np.uint8)


def resize_rule(resize: str) -> dict[str, Any]:
    """All that decides how an upright image becomes a square: a part of keys, and of `autotl.json`."""
    rule: dict[str, Any] = {"mode": resize, "interpolation": "bicubic", "antialias": True, "library": "Pillow"}
    if resize != STRETCH:
        rule["fill"] = "median of the edge"
    if resize == "trim":
        rule |= {"tolerance": TOLERANCE, "margin": MARGIN}
    return rule


def _open(content: bytes) -> tuple[str, Image.Image]:
    """Read the header only. `Image.open` would judge the size by a process-wide limit and by a warning, which cannot be
    silenced safely in threads; its own factories do the same work without that."""
    for name in FORMATS:
        factory, accept = Image.OPEN[name]
        accepted = accept is None or accept(content[:16])
        if isinstance(accepted, str):
            raise ImageError("unsupported", accepted)
        if accepted:
            try:
                return name, factory(io.BytesIO(content), "")
            except Exception as error:
                if name == "AVIF" and isinstance(error, SyntaxError):  # HEIC shares its container
                    raise ImageError("unsupported", "an ISO media file that is not AVIF (HEIC?)") from error
                raise _as_image_error(error) from error
    what = "the file is empty" if not content else f"none of {', '.join(FORMATS)}"
    raise ImageError("not an image", what)


def _as_image_error(error: Exception) -> ImageError:
    if isinstance(error, ImageError):
        return error
    message = str(error) or type(error).__name__
    if isinstance(error, Image.DecompressionBombError | MemoryError):
        return ImageError("too large", message)
    if any(
        word in message.lower() for word in ("not supported", "unsupported", "unknown", "not available", "conversion")
    ):
        return ImageError("unsupported", message)
    return ImageError("truncated", f"or damaged ({message})")


def _is_animated(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # a damaged second frame does not matter: the first one is used
        return False


def _orientation(image: Image.Image, notes: list[str]) -> int:
    try:
        value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # EXIF is free-form and often broken; the pixels are good without it
        notes.append("unreadable EXIF ignored")
        return 1
    return value if isinstance(value, int) else 1


def _to_rgb(image: Image.Image, notes: list[str]) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        notes.append(f"{image.mode} scaled to 8 bit")
        return _deep_grey_to_8_bit(image).convert("RGB")
    if image.has_transparency_data:
        return _on_white(image, notes)
    if image.mode != "RGB":
        notes.append(f"{image.mode} converted to RGB")
        return image.convert("RGB")
    return image


def _deep_grey_to_8_bit(image: Image.Image) -> Image.Image:
    """Pillow's own conversion clips at 255, which turns 16-bit images white."""
    values = np.asarray(image)
    if image.mode != "F":
        return Image.fromarray((np.clip(values, 0, 65535) // 256).astype(np.uint8))
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    scale = 255.0 / (high - low) if high > low else 0.0
    clean = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    return Image.fromarray(((clean - low) * scale).astype(np.uint8))


def _on_white(image: Image.Image, notes: list[str]) -> Image.Image:
    rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    alpha = rgba.getchannel("A")
    lowest = alpha.getextrema()[0]
    if lowest == 255:
        return rgba.convert("RGB")
    notes.append("transparency on white")
    white = Image.new("RGB", rgba.size, (255, 255, 255))
    white.paste(rgba, mask=alpha)
    return white
