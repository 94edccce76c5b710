"""Which backbones are installed: entry points of the group `autotl.backbones`, read without importing a plugin.

Plain `importlib.metadata` on purpose: a registry of records needs no hooks, and the distribution behind each name is
known before anything is loaded. Listing costs milliseconds; only `load_backbone` imports a plugin, and only that one.
"""

import difflib
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points

from autotl.backbones.contract import API_VERSION, Backbone
from autotl.errors import PluginError, UsageError

GROUP = "autotl.backbones"


@dataclass(frozen=True)
class Listing:
    """One registered name, as the metadata of its distribution tells it."""

    name: str
    distribution: str
    version: str
    value: str
    problem: str | None
    """Why the name cannot be loaded, as far as metadata shows it."""


def list_backbones() -> list[Listing]:
    """Return every registered backbone, by name; no plugin is imported.

    A name that two distributions claim is listed once for each of them, with the same `problem`.
    """
    return [listing for listing, _ in _registered()]


def load_backbone(name: str) -> Backbone:
    """Import the one plugin behind `name` and return its checked record.

    Raises:
        UsageError: no installed distribution registers the name.
        PluginError: two distributions register it, it fails to import, or it is not a valid record.
    """
    registered = _registered()
    found = [(listing, entry) for listing, entry in registered if listing.name == name]
    if not found:
        raise UsageError(_unknown(name, sorted({listing.name for listing, _ in registered})))
    listing, entry = found[0]
    if listing.problem is not None:
        raise PluginError(listing.problem)
    origin = f"{listing.distribution} {listing.version}"
    try:
        record = entry.load()
    except Exception as error:  # a plugin may fail in any way while it is imported
        raise PluginError(
            f"The backbone {name} cannot be loaded from {listing.value} of {origin}: "
            f"{type(error).__name__}: {error}. Install a working version of {listing.distribution}, or remove it."
        ) from error
    return _checked(record, listing, origin)


def _registered() -> list[tuple[Listing, EntryPoint]]:
    found: dict[tuple[str, str, str], tuple[Listing, EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        distribution = "unknown" if entry.dist is None else entry.dist.name
        version = "unknown" if entry.dist is None else entry.dist.version
        listing = Listing(entry.name, distribution, version, entry.value, None)
        # An editable install can be found twice, by its link and by its metadata: one registration, not a conflict.
        found.setdefault((distribution, entry.name, entry.value), (listing, entry))
    everything = sorted(found.values(), key=lambda pair: (pair[0].name, pair[0].distribution, pair[0].value))
    names = [listing.name for listing, _ in everything]
    return [
        (replace(listing, problem=_conflict(listing.name, everything)), entry)
        if names.count(listing.name) > 1
        else (listing, entry)
        for listing, entry in everything
    ]


def _conflict(name: str, everything: list[tuple[Listing, EntryPoint]]) -> str:
    claims = [f"{item.distribution} ({item.value})" for item, _ in everything if item.name == name]
    return (
        f"The backbone name {name} must be unique, it is registered by {' and '.join(claims)}. Uninstall one of them."
    )


def _unknown(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    installed = ", ".join(names) if names else "none; install a plugin, for example autotl-efficientnet-lite"
    return f"There is no backbone {name!r}.{hint} Installed: {installed}."


def _checked(record: object, listing: Listing, origin: str) -> Backbone:
    where = f"{listing.value} of {origin}"
    if not isinstance(record, Backbone):
        raise PluginError(
            f"A backbone entry point must name an autotl.backbones.contract.Backbone, {where} is a "
            f"{type(record).__name__}. Tell the author of {listing.distribution}."
        )
    if record.api_version != API_VERSION:
        raise PluginError(
            f"Backbones must be of API version {API_VERSION}, {where} is of {record.api_version}. "
            f"Install versions of autotl and {listing.distribution} that belong together."
        )
    if record.name != listing.name:
        raise PluginError(
            f"A backbone must carry the name it is registered under, {where} is registered as {listing.name!r} and "
            f"calls itself {record.name!r}. Tell the author of {listing.distribution}."
        )
    return record
