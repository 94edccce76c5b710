"""What every generated `predict.py` does with its runtime. The text of this module is pasted: it needs no autotl."""

import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image


def read_image(path: Path, size: int, square=Image.Image.resize) -> np.ndarray:  # as in training: upright, on white
    """The pixels of `autotl.data.decode.load_square`, uint8 `[size, size, 3]`."""
    image: Image.Image = Image.open(path, formats=("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"))
    if image.width * image.height > 100_000_000:
        raise ValueError("too large")
    image.draft(image.mode, (1024, 1024))
    image.load()
    with suppress(Exception):  # EXIF is rarely there and often damaged; its number becomes Pillow's
        image = image.transpose(Image.Transpose({2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}[image.getexif()[0x0112]]))
    if image.mode.startswith("I"):
        image = Image.fromarray((np.clip(np.asarray(image), 0, 65535) // 256).astype(np.uint8))
    if image.mode == "F":  # stretched from its least to its greatest
        finite = np.extract(np.isfinite(np.asarray(image)), np.asarray(image))
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
        grey = np.nan_to_num(np.asarray(image), nan=low, posinf=high, neginf=low) - low
        image = Image.fromarray((grey * (255 / (high - low or np.inf))).astype(np.uint8))
    if image.has_transparency_data:
        clear, image = image.convert("RGBA"), Image.new("RGB", image.size, "white")
        image.paste(clear, mask=clear.getchannel("A"))
    return np.asarray(square(image.convert("RGB"), (size, size)))  # Pillow's own is bicubic


def cell(text: str) -> str:  # an apostrophe before what a spreadsheet would take for a formula
    """A text as a cell of CSV."""
    return '"' + "'" * text.startswith(("=", "+", "-", "@", "\t", "\r")) + text.replace('"', '""') + '"'


def main(load, folder: Path, size: int, square=Image.Image.resize) -> None:
    """Labels the images that the command line names, 32 at a time; what is no image is skipped, with a word.

    Exits with 3 if nothing is an image.
    """
    if sys.argv[1:] in ([], ["-h"], ["--help"]):
        sys.exit(print(__doc__))
    sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    predict, labels, labelled = load(folder), (folder / "labels.txt").read_text("utf-8").split("\n"), 0
    files = (file for arg in sys.argv[1:] for file in sorted(filter(Path.is_file, Path(arg).rglob("*"))) or [Path(arg)])
    print("path,label,probability")
    while batch := [path for _, path in zip(range(32), files, strict=False)]:
        read = []
        for path in batch:
            try:
                read.append((path, read_image(path, size, square)))
            except Exception as error:  # codecs fed with damaged files raise anything
                print(f"skipped {str(path)!r}: {error}", file=sys.stderr)
        for (path, _), row in zip(read, predict(np.stack([image for _, image in read])) if read else (), strict=True):
            print(f"{cell(str(path))},{cell(labels[row.argmax()])},{row.max():.6f}")
        labelled += len(read)
    sys.exit(0 if labelled else 3)
