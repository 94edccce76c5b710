import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import autotl
from autotl.errors import UsageError


def test_the_version_is_that_of_the_project():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    assert autotl.__version__ == project["project"]["version"]


def test_all_public_names_can_be_resolved():
    assert all(getattr(autotl, name) is not None for name in autotl.__all__)
    assert set(dir(autotl)) == set(autotl.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="serach"):
        autotl.serach  # noqa: B018


@pytest.mark.parametrize("first", ["import autotl.search.request", "import autotl.report", "autotl.search", "pass"])
def test_functions_are_not_replaced_by_the_rooms_of_their_name(first):
    """`search` and `report` are rooms too, and Python would set an imported room as an attribute of the package."""
    code = f"import autotl; {first}; import autotl.search.request, autotl.report"
    code += "; assert callable(autotl.search) and callable(autotl.report)"
    code += "; from autotl.search.request import SearchRequest; from autotl import search; assert callable(search)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_errors_tell_kinds_apart():
    assert issubclass(autotl.UsageError, autotl.AutotlError) and autotl.UsageError is UsageError
