"""Plugins, read from the entry points of installed distributions: what there is, without importing any of it.

Plain `importlib.metadata` on purpose: a registry of records needs no hooks, and the distribution behind each name is
known before anything is loaded. Listing costs milliseconds; only `load_entry` imports a plugin, and only that one, so a
broken plugin breaks nothing that does not ask for it.
"""

import difflib
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution, entry_points
from typing import Any

from autotl.errors import PluginError, UsageError

LAYERS_GROUP = "autotl.layers"
OK, FAILED, DUPLICATE, INCOMPATIBLE = "ok", "failed", "duplicate", "incompatible"


@dataclass(frozen=True)
class Kind:
    """One kind of plugin: where it registers and what it publishes there."""

    word: str
    """What people call it, such as "backbone"."""
    group: str
    """The group of entry points, such as "autotl.backbones"."""
    record: type = object
    """Class of the record that an entry point names; it has `name` and `api_version`."""
    api_version: int | None = None
    """`None` for a kind without records: then anything that can be imported will do."""


@dataclass(frozen=True)
class Listing:
    """One registered name, as the metadata of its distribution tells it."""

    name: str
    distribution: str
    version: str
    value: str
    problem: str | None
    """Why the name cannot be loaded, as far as metadata shows it."""


@dataclass(frozen=True)
class Status:
    """What a registered name turned out to be when its plugin was imported."""

    listing: Listing
    state: str
    """One of OK, FAILED, DUPLICATE, INCOMPATIBLE."""
    problem: str | None = None
    record: Any = None
    error: BaseException | None = None
    """What the plugin raised while it was imported."""


def list_entries(kind: Kind) -> list[Listing]:
    """Return every registered name of a kind, in order; no plugin is imported.

    A name that two distributions claim is listed once for each of them, with the same `problem`.
    """
    return [listing for listing, _ in _registered(kind)]


def load_entry(kind: Kind, name: str) -> Any:
    """Import the one plugin behind `name` and return its checked record.

    Raises:
        UsageError: no installed distribution registers the name.
        PluginError: two distributions register it, it fails to import, or it is not a valid record.
    """
    registered = _registered(kind)
    found = [(listing, entry) for listing, entry in registered if listing.name == name]
    if not found:
        raise UsageError(_unknown(kind, name, sorted({listing.name for listing, _ in registered})))
    status = _examine(kind, *found[0])
    if status.problem is not None:
        raise PluginError(status.problem) from status.error
    return status.record


def examine_entries(kind: Kind) -> list[Status]:
    """Import every registered plugin of a kind and say what became of it; none can break another, or the program."""
    return [_examine(kind, listing, entry) for listing, entry in _registered(kind)]


def did_you_mean(given: str, known: Sequence[str]) -> str:
    """ " Did you mean X?" when something known is spelled like what was given, else nothing."""
    close = difflib.get_close_matches(given, known, n=1)
    return f" Did you mean {close[0]}?" if close else ""


def _registered(kind: Kind) -> list[tuple[Listing, EntryPoint]]:
    found: dict[tuple[str, str, str], tuple[Listing, EntryPoint]] = {}
    origins: dict[int, tuple[str, str]] = {}  # parsing metadata takes a millisecond, and one plugin has a hundred names
    for entry in entry_points(group=kind.group):
        owner = entry.dist
        if id(owner) not in origins:
            origins[id(owner)] = ("unknown", "unknown") if owner is None else (owner.name, owner.version)
        name, version = origins[id(owner)]
        listing = Listing(entry.name, name, version, entry.value, None)
        # An editable install can be found twice, by its link and by its metadata: one registration, not a conflict.
        found.setdefault((name, entry.name, entry.value), (listing, entry))
    everything = sorted(found.values(), key=lambda pair: (pair[0].name, pair[0].distribution, pair[0].value))
    names = [listing.name for listing, _ in everything]
    return [
        (replace(listing, problem=_conflict(kind, listing.name, everything)), entry)
        if names.count(listing.name) > 1
        else (listing, entry)
        for listing, entry in everything
    ]


def _conflict(kind: Kind, name: str, everything: list[tuple[Listing, EntryPoint]]) -> str:
    claims = [f"{item.distribution} ({item.value})" for item, _ in everything if item.name == name]
    return (
        f"The {kind.word} name {name} must be unique, it is registered by {' and '.join(claims)}. "
        "Uninstall one of them."
    )


def _unknown(kind: Kind, name: str, names: list[str]) -> str:
    installed = ", ".join(names) if names else "none; install a plugin"
    return f"There is no {kind.word} {name!r}.{did_you_mean(name, names)} Installed: {installed}."


def _examine(kind: Kind, listing: Listing, entry: EntryPoint) -> Status:
    if listing.problem is not None:
        return Status(listing, DUPLICATE, listing.problem)
    try:
        with redirect_stdout(sys.stderr):  # stdout is for results, and with --json for one object
            record = entry.load()
    except KeyboardInterrupt:  # that was the person at the keyboard
        raise
    except BaseException as error:  # a plugin may do anything while it is imported, also exit
        problem = (
            f"The {kind.word} {listing.name} cannot be loaded from {listing.value} of {_origin(listing)}: "
            f"{type(error).__name__}: {error}. Install a working version of {listing.distribution}, or remove it."
        )
        return Status(listing, FAILED, problem, error=error)
    state, broken = _check(record, kind, listing)
    return Status(listing, state, broken, record)


def _check(record: Any, kind: Kind, listing: Listing) -> tuple[str, str | None]:
    """State and problem of what an entry point names."""
    where = f"{listing.value} of {_origin(listing)}"
    if not isinstance(record, kind.record):
        expected = f"{kind.record.__module__}.{kind.record.__qualname__}"
        return FAILED, (
            f"An entry point in {kind.group} must name an {expected}, {where} is a "
            f"{type(record).__name__}. Tell the author of {listing.distribution}."
        )
    if kind.api_version is None:
        return OK, None
    published: Any = record
    if published.api_version != kind.api_version:
        return INCOMPATIBLE, (
            f"A {kind.word} must be of API version {kind.api_version}, {where} is of {published.api_version}. "
            f"Install versions of autotl and {listing.distribution} that belong together."
        )
    if published.name != listing.name:
        return FAILED, (
            f"A {kind.word} must carry the name it is registered under, {where} is registered as {listing.name!r} "
            f"and calls itself {published.name!r}. Tell the author of {listing.distribution}."
        )
    return OK, None


def _origin(listing: Listing) -> str:
    return f"{listing.distribution} {listing.version}"


def import_layers(distributions: Sequence[Mapping[str, Any]]) -> None:
    """Import the modules that register the Keras layers of plugins, before a model made with them is loaded.

    A plugin names such modules in entry points of the group `autotl.layers`. Only what an installed distribution has
    registered there is imported: a model's file says which distributions it needs, never which module.

    Args:
        distributions: `{"distribution", "version"}` of each plugin that had a part in a model.

    Raises:
        PluginError: one of them is not installed, or is broken.
    """
    for item in distributions:
        name = str(item["distribution"])
        try:
            found = distribution(name)
        except PackageNotFoundError as error:
            raise PluginError(
                f"This model was made with the plugin {name} {item.get('version', '')}, which is not installed. "
                f"Run: pip install {name}"
            ) from error
        for entry in found.entry_points.select(group=LAYERS_GROUP):
            try:
                import_module(entry.value)
            except Exception as error:
                raise PluginError(
                    f"The layers of {name} cannot be imported from {entry.value}: {type(error).__name__}: {error}. "
                    f"Install a working version of {name}."
                ) from error
