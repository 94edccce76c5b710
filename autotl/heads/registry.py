"""Which heads there are: entry points of the group `autotl.heads`, listed without importing a plugin."""

from autotl.entry_points import Kind, Listing, list_entries, load_entry
from autotl.heads.contract import API_VERSION, Head

GROUP = "autotl.heads"
KIND = Kind("head", GROUP, Head, API_VERSION)


def list_heads() -> list[Listing]:
    """Return every registered head, by name; no plugin is imported."""
    return list_entries(KIND)


def load_head(name: str) -> Head:
    """Import the one plugin behind `name` and return its checked record.

    Args:
        name: of a registered head, or `module:object` of a KerasTuner hypermodel, which serves as a head too.

    Raises:
        UsageError: no installed distribution registers the name.
        PluginError: two distributions register it, it fails to import, or it is not a valid record.
    """
    if ":" in name:
        from autotl.heads.hypermodel import open_head

        return open_head(name)
    record: Head = load_entry(KIND, name)
    return record
