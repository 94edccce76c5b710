"""Plugins, read from the entry points of installed distributions: what there is, without importing any of it.

Plain `importlib.metadata` on purpose: a registry of records needs no hooks, and the distribution behind each name is
known before anything is loaded. Listing costs milliseconds; only `load_entry` imports a plugin, and only that one, so a
broken plugin breaks nothing that does not ask for it.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from autotl.errors import PluginError, UsageError


@dataclass(frozen=True)
class Kind:
    """One kind of plugin: where it registers and what it publishes there."""

    word: str
    """What people call it, such as "backbone"."""
    group: str
    """The group of entry points, such as "autotl.backbones"."""
    record: type
    """Class of the record that an entry point names; it has `name` and `api_version`."""
    api_version: int


@dataclass(frozen=True)
class Listing:
    """One registered name, as the metadata of its distribution tells it."""

    name: str
    distribution: str
    version: str
    value: str
    problem: str | None
    """Why the name cannot be loaded, as far as metadata shows it."""


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
    listing, entry = found[0]
    if listing.problem is not None:
        raise PluginError(listing.problem)
    origin = f"{listing.distribution} {listing.version}"
    try:
        record = entry.load()
    except Exception as error:  # a plugin may fail in any way while it is imported
        raise PluginError(
            f"The {kind.word} {name} cannot be loaded from {listing.value} of {origin}: "
            f"{type(error).__name__}: {error}. Install a working version of {listing.distribution}, or remove it."
        ) from error
    _check(record, kind, listing, origin)
    return record


def did_you_mean(given: str, known: Sequence[str]) -> str:
    """ " Did you mean X?" when something known is spelled like what was given, else nothing."""
    close = difflib.get_close_matches(given, known, n=1)
    return f" Did you mean {close[0]}?" if close else ""


def _registered(kind: Kind) -> list[tuple[Listing, EntryPoint]]:
    found: dict[tuple[str, str, str], tuple[Listing, EntryPoint]] = {}
    for entry in entry_points(group=kind.group):
        distribution = "unknown" if entry.dist is None else entry.dist.name
        version = "unknown" if entry.dist is None else entry.dist.version
        listing = Listing(entry.name, distribution, version, entry.value, None)
        # An editable install can be found twice, by its link and by its metadata: one registration, not a conflict.
        found.setdefault((distribution, entry.name, entry.value), (listing, entry))
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


def _check(record: Any, kind: Kind, listing: Listing, origin: str) -> None:
    where = f"{listing.value} of {origin}"
    if not isinstance(record, kind.record):
        expected = f"{kind.record.__module__}.{kind.record.__qualname__}"
        raise PluginError(
            f"An entry point in {kind.group} must name an {expected}, {where} is a "
            f"{type(record).__name__}. Tell the author of {listing.distribution}."
        )
    published: Any = record
    if published.api_version != kind.api_version:
        raise PluginError(
            f"A {kind.word} must be of API version {kind.api_version}, {where} is of {published.api_version}. "
            f"Install versions of autotl and {listing.distribution} that belong together."
        )
    if published.name != listing.name:
        raise PluginError(
            f"A {kind.word} must carry the name it is registered under, {where} is registered as {listing.name!r} "
            f"and calls itself {published.name!r}. Tell the author of {listing.distribution}."
        )
