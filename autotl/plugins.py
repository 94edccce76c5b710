"""The verbs for plugins and their authors; `api` publishes them."""

from pathlib import Path
from typing import Any


def plugins() -> list[dict[str, Any]]:
    """Everything that is registered, by distribution: `distribution`, `version`, `status` and `entries`.

    Every plugin is imported to know its `status`: "ok", "failed", "duplicate" or "incompatible". No plugin ends this.
    """
    from autotl.installed import list_plugins

    return list_plugins()


def check_plugin(name: str, *, weights: str = "random") -> dict[str, Any]:
    """Check that an installed backbone or head keeps its contract.

    Args:
        name: of a backbone or head, or of a distribution: then all of its backbones and heads.
        weights: "random" or "pretrained": what a backbone is built with.

    Returns:
        `name`, `passed`, and `checked`: for each of them what was measured, and the rule that is broken, if one is.

    Raises:
        UsageError: nothing of this name is installed.
    """
    from autotl.conformance.installed import check_entry
    from autotl.installed import find_entries

    checked = [check_entry(kind, found, weights) for kind, found in find_entries(name)]
    return {"name": name, "passed": all(report["passed"] for report in checked), "checked": checked}


def new_plugin(name: str, *, kind: str, out: str | Path = ".") -> dict[str, Any]:
    """Write a small complete package with a new "backbone" or "head" into a new folder of its name.

    Args:
        name: small letters and digits in words joined by hyphens, such as "my-network".
        kind: what it publishes.
        out: the folder to make the package's folder in.

    Returns:
        `name`, `kind`, `folder`, `files` (relative to it) and `next`, the commands to go on with.

    Raises:
        UsageError: the name will not do or is taken, or the folder exists.
    """
    from autotl.authoring.package import next_commands, write_package
    from autotl.installed import registered_names

    folder = Path(out).expanduser() / name
    written = [str(path) for path in write_package(name, kind, folder, registered_names())]
    commands = next_commands(name, kind, folder)
    return {"name": name, "kind": kind, "folder": str(folder), "files": written, "next": commands}
