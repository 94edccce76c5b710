"""Times and sizes as people write them: "20ms", "1.5s", "10MB", "9.5MiB"."""

import math
import re

from autotl.errors import UsageError

_NUMBER_AND_UNIT = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*([a-z]+)", re.ASCII)
_MILLISECONDS = {"ms": 1.0, "s": 1000.0}
_BYTES = {
    "b": 1, "byte": 1, "bytes": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30,
}  # fmt: skip


def parse_milliseconds(text: str) -> float:
    """Milliseconds of a latency that is written with its unit.

    Raises:
        UsageError: it is no such time, or zero.
    """
    return _parse(text, _MILLISECONDS, "A latency is a time greater than zero with its unit, like 20ms or 0.5s")


def parse_bytes(text: str) -> int:
    """Bytes of a file size that is written with its unit: KB, MB and GB are powers of 1000, KiB, MiB and GiB of 1024.

    Raises:
        UsageError: it is no such size, or less than one byte.
    """
    rule = "A size is written with its unit, like 10MB, 9.5MiB or 800KB, and is at least one byte"
    count = int(_parse(text, _BYTES, rule))
    if count < 1:
        raise UsageError(f"{rule}, not {text!r}.")
    return count


def milliseconds(value: float) -> str:
    """20 ms, 3.42 ms."""
    return f"{value:.3g} ms" if value < 1000 else f"{value:.0f} ms"


def megabytes(count: float) -> str:
    """14.29 MB; small files in kB."""
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def _parse(text: str, units: dict[str, float] | dict[str, int], rule: str) -> float:
    found = _NUMBER_AND_UNIT.fullmatch(text.strip().lower())
    factor = None if found is None else units.get(found.group(2))
    value = 0.0 if found is None or factor is None else float(found.group(1)) * factor
    if not 0.0 < value < math.inf:
        raise UsageError(f"{rule}, not {text!r}.")
    return value
