"""What importing a plugin costs: its records are read by every listing, so they must be cheap."""

import os
import subprocess
import sys
from functools import lru_cache

from autotl.conformance.rules import RuleError
from autotl.entry_points import Kind, Listing, list_entries

HEAVY = ("keras", "tensorflow", "numpy", "torch", "jax", "keras_hub")
IMPORT = """
import importlib, sys
importlib.import_module(sys.argv[1])
print("loaded:", *(name for name in sys.argv[2:] if name in sys.modules))
"""


def registration(kind: Kind, name: str) -> Listing | None:
    """How the record of this name is registered; `None` when it is not installed, or not alone under its name."""
    found = [listing for listing in list_entries(kind) if listing.name == name]
    return found[0] if len(found) == 1 else None


def check_import(kind: Kind, name: str) -> str:
    """Import the module of a registered record in a process of its own, and see what comes along."""
    registered = registration(kind, name)
    if registered is None:
        return "not registered by anything installed, so nothing was imported"
    module = registered.value.partition(":")[0]
    code, output, errors = _import_elsewhere(module)
    if code != 0:
        raise RuleError(f"importing {module} fails: {errors}", "Make the module import on its own.")
    loaded = output.rpartition("loaded:")[2].split()
    if loaded:
        raise RuleError(
            f"importing {module} loads {', '.join(loaded)}.",
            "Import heavy libraries inside `build`, where they are needed.",
        )
    return f"{module} loads none of {', '.join(HEAVY)}"


@lru_cache(maxsize=128)
def _import_elsewhere(module: str) -> tuple[int, str, str]:
    """Exit code, stdout and the last line of stderr of a fresh interpreter that imports a module."""
    return run_python(IMPORT, module, *HEAVY)


def run_python(code: str, *arguments: str) -> tuple[int, str, str]:
    """Run code in a fresh interpreter that finds the same modules; its exit code, stdout, last line of stderr."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment, check=False
    )
    lines = done.stderr.strip().splitlines()
    return done.returncode, done.stdout, lines[-1] if lines else "nothing was said"
