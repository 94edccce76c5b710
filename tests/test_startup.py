"""Starting autotl is cheap: nothing heavy is imported before it is needed."""

import json
import subprocess
import sys

import pytest

HEAVY = {
    "numpy", "keras", "tensorflow", "jax", "torch", "optuna", "sqlalchemy", "sklearn", "scipy", "matplotlib",
    "pydantic", "PIL", "psutil", "jinja2", "rich",
}  # fmt: skip
IMPORT_ONLY = "import autotl"
COMMAND = """
import contextlib, io
from autotl.cli.main import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main({arguments!r})
"""
PRINT_MODULES = "\nimport json, sys; print(json.dumps(sorted(sys.modules)))"


def modules_after(code):
    answer = subprocess.run([sys.executable, "-c", code + PRINT_MODULES], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in json.loads(answer.stdout)} | set(json.loads(answer.stdout))


@pytest.mark.parametrize(
    "code",
    [
        IMPORT_ONLY,
        COMMAND.format(arguments=["--help"]),
        COMMAND.format(arguments=["search", "--help"]),
        COMMAND.format(arguments=["backbones", "list"]),
    ],
    ids=["import autotl", "autotl --help", "autotl search --help", "autotl backbones list"],
)
def test_nothing_heavy_is_imported_by(code):
    assert modules_after(code) & HEAVY == set()


def test_help_imports_no_command():
    loaded = modules_after(COMMAND.format(arguments=["--help"]))
    assert {name for name in loaded if name.startswith("autotl.")} == {
        "autotl.cli", "autotl.cli.failures", "autotl.cli.main", "autotl.cli.output", "autotl.errors",
    }  # fmt: skip


def test_importing_autotl_imports_no_room():
    assert {name for name in modules_after(IMPORT_ONLY) if name.startswith("autotl.")} == set()
