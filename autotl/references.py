"""Names that lead out of autotl: `module:object` in a user's own module, and paths; checked, imported, shortened."""

import importlib.util
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from autotl.errors import UsageError


def short_name(reference: str) -> str:
    """What people see of a reference: of a path the file's stem or the run's name, of anything else all.

    `/home/me/my-network.keras?normalisation=unit` is my-network, `/data/runs/birds-2026/model` is birds-2026.
    """
    source, colon, rest = reference.partition(":")
    if colon and "/" in rest and "/" not in source:
        return f"{source}:{short_name(rest)}"
    path = reference.partition("?")[0]
    if "/" not in path and not path.endswith(".keras"):
        return reference
    parts = [part for part in path.split("/") if part]
    while len(parts) > 1 and parts[-1] in ("model.keras", "model"):
        parts.pop()
    return parts[-1].removesuffix(".keras") if parts else reference


def is_reference(name: str) -> bool:
    """Whether a name is meant as `module:object`."""
    module, _, attribute = name.partition(":")
    return all(part.isidentifier() for part in [*module.split("."), *attribute.split(".")])


def check_reference(name: str) -> None:
    """Insist that `name` is `module:object` and that there is such a module; nothing is imported.

    Raises:
        UsageError: another form, or no such module in the current folder and on Python's path.
    """
    if not is_reference(name):
        raise UsageError(f"A hypermodel is named module:object, as in my_models:MyHyperModel, not {name!r}.")
    module = name.partition(":")[0]
    if not _exists(module):
        raise UsageError(
            f"There is no module {module} for {name}, neither in the folder {Path.cwd()} nor on Python's path. "
            "Run autotl where it lies, or install it."
        )


def load_object(name: str) -> Any:
    """Import what `module:object` names.

    The current folder is searched last and stays on the path: the module may import its neighbours later.

    Raises:
        UsageError: there is no such module or no such object in it.
    """
    check_reference(name)
    module, _, attribute = name.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    found: Any = importlib.import_module(module)
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise UsageError(f"The module {module} has no {attribute}. Name something that {found!r} defines.")
        found = getattr(found, part)
    return found


def _exists(module: str) -> bool:
    """Whether a module can be found; `importlib.util.find_spec` alone would import the packages that it lies in."""
    first, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(first)
    except ValueError:  # `__main__`, which is another module in a worker
        return False
    spec = PathFinder.find_spec(first, [str(Path.cwd())]) if spec is None else spec
    for count in range(1, len(rest) + 1):
        if spec is None or spec.submodule_search_locations is None:
            return False
        spec = PathFinder.find_spec(".".join([first, *rest[:count]]), list(spec.submodule_search_locations))
    return spec is not None
