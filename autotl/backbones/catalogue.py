"""What there is to say about the backbones of this machine, as JSON, and bringing their weights here."""

from typing import Any

from autotl.backbones.registry import KIND, load_backbone, owner_of
from autotl.entry_points import Listing, Status, examine_entries
from autotl.errors import AutotlError, PluginError


def describe_backbones() -> list[dict[str, Any]]:
    """All registered backbones; of one that cannot be loaded, its `problem` in the place of its description."""
    return [_describe(status) for status in examine_entries(KIND)]


def describe_backbone(reference: str) -> dict[str, Any]:
    """All about one backbone, with the distribution that provides it.

    Raises:
        UsageError: there is no such backbone.
        PluginError: it cannot be loaded.
    """
    return {**load_backbone(reference).to_json(), **_origin(owner_of(reference))}


def fetch_backbone(reference: str) -> dict[str, Any]:
    """Put the pretrained weights of a backbone on this machine, so that it needs no network later.

    Returns:
        `name`, `downloaded` (false: they were here already) and `path` (`None`: the plugin does not say, or has them
        inside).

    Raises:
        UsageError: there is no such backbone.
        PluginError: the weights cannot be downloaded, or the file that is here is damaged.
    """
    backbone = load_backbone(reference)
    here = backbone.available()
    fetch = backbone.fetch
    if fetch is None and not here:
        raise PluginError(
            f"The pretrained weights of {reference} must be put on this machine by hand: its plugin offers no "
            f"download. They come from {backbone.weights.source}."
        )
    try:
        path = None if fetch is None else fetch()
    except AutotlError:
        raise
    except Exception as error:  # a plugin may fail in any way
        raise PluginError(
            f"The pretrained weights of {reference} cannot be downloaded ({type(error).__name__}: {error}). "
            f"They come from {backbone.weights.source}."
        ) from error
    return {"name": backbone.name, "downloaded": not here, "path": None if path is None else str(path)}


def _describe(status: Status) -> dict[str, Any]:
    listing, problem = status.listing, status.problem
    if problem is None:
        try:
            return {**status.record.to_json(), **_origin(listing)}
        except Exception as error:  # a plugin may fail in any way, here while it looks for its weights
            problem = f"{type(error).__name__}: {error}"
    return {"name": listing.name, **_origin(listing), "available": False, "problem": problem}


def _origin(listing: Listing) -> dict[str, Any]:
    return {
        "distribution": listing.distribution,
        "version": listing.version,
        "entry_point": listing.value,
        "problem": listing.problem,
    }
