"""Which backbones there are: entry points of the group `autotl.backbones`, listed without importing a plugin."""

from autotl.backbones.contract import API_VERSION, Backbone
from autotl.entry_points import Kind, Listing, list_entries, load_entry

GROUP = "autotl.backbones"
KIND = Kind("backbone", GROUP, Backbone, API_VERSION)


def list_backbones() -> list[Listing]:
    """Return every registered backbone, by name; no plugin is imported."""
    return list_entries(KIND)


def load_backbone(name: str) -> Backbone:
    """Import the one plugin behind `name` and return its checked record.

    Raises:
        UsageError: no installed distribution registers the name.
        PluginError: two distributions register it, it fails to import, or it is not a valid record.
    """
    record: Backbone = load_entry(KIND, name)
    return record
