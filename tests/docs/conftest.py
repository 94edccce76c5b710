"""A fresh virtual environment that sees the packages of the test environment, so nothing is downloaded."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

COMMANDS = {"autotl": "from autotl.cli.main import main", "pytest": "from pytest import console_main as main"}
# What pip would otherwise fetch is there: hatchling, autotl and what they need.
OFFLINE = {"PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


@pytest.fixture(scope="session")
def fresh_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables of a shell in which that virtual environment is active."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python, packages = folder / "bin" / "python", _packages_of(folder)
    seen = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    # An import line, because the .pth files of editable installs must be read there as well.
    lines = [f"import site; site.addsitedir({path!r})" for path in seen]
    (packages / "test-environment.pth").write_text("\n".join(lines) + "\n")
    for name, imports in COMMANDS.items():
        command = folder / "bin" / name
        command.write_text(f"#!{python}\nimport sys\n\n{imports}\n\nsys.exit(main())\n")
        command.chmod(0o755)
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    return {**variables, **OFFLINE, "PATH": path, "VIRTUAL_ENV": str(folder)}


def _packages_of(folder: Path) -> Path:
    variables = {"base": str(folder), "platbase": str(folder)}
    return Path(sysconfig.get_path("purelib", scheme="venv", vars=variables))
