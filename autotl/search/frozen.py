"""The plugins that a run chose among, written down at its start: a resumed run has the same choices, or says why not.

Optuna takes one list of options for a categorical parameter in a study, so a plugin that was installed in between must
not join, and one that was removed or changed must not be left out silently.
"""

from collections.abc import Mapping
from typing import Any

from autotl.backbones.contract import Backbone
from autotl.backbones.registry import load_backbone, owner_of
from autotl.entry_points import Listing
from autotl.errors import UsageError
from autotl.heads.contract import Head
from autotl.heads.registry import list_heads
from autotl.runs.directory import Run
from autotl.runs.files import read_json, write_json

FILE = "plugins.json"


def freeze(run: Run, backbones: Mapping[str, Backbone], heads: Mapping[str, Head]) -> None:
    """Write down the backbones and heads of a run, with the distributions they come from."""
    of_backbones = [
        {"name": name, **_origin(owner_of(name)), "weights": record.weights.digest}
        for name, record in backbones.items()
    ]
    of_heads = [{"name": name, **_origin(_owner_of_head(name))} for name in heads]
    write_json(run.path / FILE, {"backbones": of_backbones, "heads": of_heads})


def thaw(run: Run) -> dict[str, Backbone] | None:
    """The backbones that a run chose among; None for a run of an autotl that wrote no such file.

    Raises:
        UsageError: a plugin was removed or changed, or a file of your own was.
    """
    path = run.path / FILE
    if not path.exists():
        return None
    recorded = read_json(path)
    for item in recorded["heads"]:
        _check_origin("head", item, _owner_of_head(item["name"]))
    return {item["name"]: _load(item) for item in recorded["backbones"]}


def plugins_of(backbone: Backbone, head: str | None) -> list[dict[str, str]]:
    """The distributions whose layers a model may hold: that of its backbone, of its head, and of its ancestors'."""
    owners = [owner_of(backbone.name), *([] if head is None else [_owner_of_head(head)])]
    mine = [_origin(owner) for owner in owners if owner.distribution not in ("none", "autotl")]
    everything = [*mine, *backbone.provenance.get("plugins", [])]
    return list({item["distribution"]: item for item in reversed(everything)}.values())[::-1]


def _load(item: Mapping[str, Any]) -> Backbone:
    _check_origin("backbone", item, owner_of(item["name"]))
    try:
        record = load_backbone(item["name"])
    except UsageError as error:
        raise UsageError(f"This run chose among backbones of which one is gone: {error}") from error
    if record.weights.digest != item["weights"]:
        raise UsageError(
            f"A run goes on with the weights that it began with; those of {record.label} have changed. "
            "Put the old file back, or start a new search."
        )
    return record


def _check_origin(kind: str, item: Mapping[str, Any], owner: Listing) -> None:
    was, version = item["distribution"], item["version"]
    if was == owner.distribution and version == owner.version:
        return
    if owner.distribution == "none":
        state = "is not installed any more"
    else:
        state = f"now comes from {owner.distribution} {owner.version}"
    raise UsageError(
        f"A run goes on with the plugins that it began with: its {kind} {item['name']} came from {was} {version} and "
        f"{state}. Run `pip install {was}=={version}`, or start a new search."
    )


def _owner_of_head(name: str) -> Listing:
    none = Listing(name, "none", "", "", None)
    return next((listing for listing in list_heads() if listing.name == name), none)


def _origin(listing: Listing) -> dict[str, str]:
    return {"distribution": listing.distribution, "version": listing.version}
