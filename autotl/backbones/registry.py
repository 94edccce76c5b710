"""Which backbones there are: entry points, files of your own, and what plugins open by a reference.

Registered ones are entry points of the group `autotl.backbones` and are listed without importing a plugin. Everything
else is named by a reference, a text that says all about it, because driver and workers open it independently.
"""

import difflib
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib.metadata import entry_points
from pathlib import Path

from autotl.backbones.contract import API_VERSION, Backbone
from autotl.entry_points import Kind, Listing, did_you_mean, list_entries, load_entry
from autotl.errors import AutotlError, PluginError, UsageError
from autotl.references import is_reference

GROUP = "autotl.backbones"
SOURCES_GROUP = "autotl.backbone_sources"
KIND = Kind("backbone", GROUP, Backbone, API_VERSION)
_CLOSE = 3  # names that are told for one that is not known
NO_PLUGIN = Listing("", "none", "", "", None)


def list_backbones() -> list[Listing]:
    """Return every registered backbone, by name; no plugin is imported."""
    return list_entries(KIND)


def load_backbone(reference: str) -> Backbone:
    """Return the checked record of a backbone, importing at most the one plugin that it comes from.

    Args:
        reference: the first of these that it can be:
            the name of a registered backbone;
            `SOURCE:REST`, where a plugin registers SOURCE in the group `autotl.backbone_sources`;
            the path of a `.keras` file with `?normalisation=MODE`, of a model folder or of a run (`saved.py`);
            `module:object`, a KerasTuner hypermodel as a whole model (`hypermodel.py`).

    Raises:
        UsageError: it is none of them.
        PluginError: the plugin behind it is broken, or two distributions claim the name.
    """
    if not _is_registered(reference):
        source, colon, rest = reference.partition(":")
        if _is_from_source(reference):
            return _open_from(source, rest, reference)
        from autotl.backbones.saved import is_saved, open_saved  # listing needs no hashes and no zips

        if is_saved(reference):
            return open_saved(reference)
        if is_reference(reference):
            from autotl.backbones.hypermodel import open_hypermodel

            return open_hypermodel(reference)
        if colon:
            raise UsageError(
                f"What stands before the colon of {reference!r} is a plugin's source or a Python module, {source} is "
                f"neither.{did_you_mean(source, sorted(entry_points(group=SOURCES_GROUP).names))} "
                "Install the plugin, or check the name (autotl plugins list)."
            )
        raise UsageError(_unknown(reference))
    record: Backbone = load_entry(KIND, reference)
    return record


def is_path(reference: str) -> bool:
    """Whether `load_backbone` takes a reference for the path of a network of your own."""
    from autotl.backbones.saved import is_saved

    return not _is_registered(reference) and not _is_from_source(reference) and is_saved(reference)


def absolute_reference(reference: str, normalisation: str | None = None) -> str:
    """The reference that means the same in every folder: paths are made absolute, what follows `SOURCE:` too.

    Args:
        reference: see `load_backbone`.
        normalisation: of a `.keras` file that does not say it.

    Raises:
        UsageError: there is no such normalisation.
    """
    if is_path(reference):
        from autotl.backbones.saved import declare

        return declare(reference, normalisation)
    source, _, rest = reference.partition(":")
    if rest and _is_from_source(reference) and Path(rest).expanduser().exists():
        return f"{source}:{Path(rest).expanduser().resolve()}"
    return reference


def owner_of(reference: str) -> Listing:
    """The plugin that a backbone comes from; one of distribution "none" for files and modules of your own.

    Only the metadata of that one is read: workers ask for it with every trial.
    """
    group, name = (GROUP, reference) if _is_registered(reference) else (SOURCES_GROUP, reference.partition(":")[0])
    for entry in entry_points(group=group):
        if entry.name == name and entry.dist is not None:
            return Listing(name, entry.dist.name, entry.dist.version, entry.value, None)
    return NO_PLUGIN


def _unknown(reference: str) -> str:
    """There are too many names to list them all."""
    names = sorted(entry_points(group=GROUP).names)
    if not names:
        return f"There is no backbone {reference!r}: no plugin with backbones is installed."
    nearest, *others = difflib.get_close_matches(reference.lower(), names, n=_CLOSE) or [""]
    meant = f" Did you mean {nearest}?" if nearest else ""
    meant += f" (Or {', '.join(others)}.)" if others else ""
    return f"There is no backbone {reference!r}.{meant} Run `autotl backbones list` to see all {len(names)}."


def _is_registered(reference: str) -> bool:
    return reference in entry_points(group=GROUP).names


def _is_from_source(reference: str) -> bool:
    source, colon, _ = reference.partition(":")
    return bool(colon) and source in entry_points(group=SOURCES_GROUP).names


def _open_from(source: str, rest: str, reference: str) -> Backbone:
    entries = [entry for entry in entry_points(group=SOURCES_GROUP) if entry.name == source]
    owners = sorted({"unknown" if entry.dist is None else entry.dist.name for entry in entries})
    if len(owners) > 1:
        raise PluginError(f"The source {source} must be unique, it is registered by {' and '.join(owners)}.")
    try:
        with redirect_stdout(sys.stderr):
            opened: Callable[[str], Backbone] = entries[0].load()
            record = opened(rest)
    except (AutotlError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a plugin may fail in any way, also exit
        raise PluginError(
            f"{owners[0]} cannot open {reference}: {type(error).__name__}: {error}. Check what follows the colon."
        ) from error
    if not isinstance(record, Backbone) or record.name != reference:
        raise PluginError(
            f"The source {source} must give a Backbone called {reference}. Tell the author of {owners[0]}."
        )
    return record
