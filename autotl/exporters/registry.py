"""Which formats there are: entry points of the group `autotl.exporters`, listed without importing a plugin."""

from collections.abc import Mapping
from importlib.util import find_spec

from autotl.entry_points import Kind, Listing, did_you_mean, list_entries, load_entry
from autotl.errors import AutotlError, UsageError
from autotl.exporters.contract import API_VERSION, GROUP, Exporter

KIND = Kind("exporter", GROUP, Exporter, API_VERSION)


def list_exporters() -> list[Listing]:
    """Return every registered format, by name; no plugin is imported."""
    return list_entries(KIND)


def load_exporter(name: str) -> Exporter:
    """Import the one exporter behind `name` and return its checked record; that loads no converter.

    Raises:
        UsageError: no installed distribution registers the name.
        PluginError: two distributions register it, it fails to import, or it is not a valid record.
    """
    record: Exporter = load_entry(KIND, name)
    return record


def parse_format(text: str, default_precision: str | None = None) -> tuple[Exporter, str]:
    """Read `NAME` or `NAME:PRECISION`, as in `onnx` and `litert:int8`.

    Args:
        text: what was given.
        default_precision: where the text names none; `None` is the exporter's own default.

    Returns:
        The exporter, and one of its precisions.

    Raises:
        UsageError: there is no such format, or it has no such precision.
        PluginError: the plugin behind it is broken.
    """
    name, colon, named = text.partition(":")
    exporter = load_exporter(name)
    own_default = next(iter(exporter.precisions))
    precision = named if colon else own_default if default_precision is None else default_precision
    if precision not in exporter.precisions:
        raise UsageError(
            f"The format {name} is written as {_listed(exporter.precisions)}; given {precision!r}."
            f"{did_you_mean(precision, list(exporter.precisions))} For example: --format {name}:{own_default}"
        )
    return exporter, precision


def missing_packages(packages: Mapping[str, str]) -> tuple[str, ...]:
    """The import names that are not installed; nothing is imported."""
    return tuple(name for name in packages if find_spec(name) is None)


def require_writer(exporter: Exporter) -> None:
    """Insist that a format can be written here.

    Raises:
        AutotlError: packages are missing.
    """
    _require("Writing", exporter, exporter.writer_packages)


def require_runtime(exporter: Exporter) -> None:
    """Insist that a format can be run here.

    Raises:
        AutotlError: packages are missing.
    """
    _require("Running", exporter, exporter.runtime_packages)


def _require(verb: str, exporter: Exporter, packages: Mapping[str, str]) -> None:
    missing = [packages[name] for name in missing_packages(packages)]
    if missing:
        wanted = " ".join(missing) if exporter.extra is None else f"'{exporter.extra}'"
        raise AutotlError(f"{verb} {exporter.name} needs {', '.join(missing)}; run: pip install {wanted}")


def _listed(precisions: Mapping[str, object]) -> str:
    *others, last = precisions
    return f"{', '.join(others)} or {last}" if others else last
