import ast
import tomllib
from pathlib import Path

import pytest

from autotl.authoring.package import next_commands, write_package
from autotl.errors import UsageError


@pytest.mark.parametrize("kind", ["backbone", "head"])
def test_a_package_is_complete(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "somewhere" / "my-thing"
    files = write_package("my-thing", kind, folder, {})
    names = ["LICENSE", "README.md", "my_thing/__init__.py", "pyproject.toml", "tests/test_my_thing.py"]
    assert [str(file) for file in files] == names
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == [folder / name for name in names]
    assert not [name for name in names if "$" in (folder / name).read_text()]
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["name"] == "my-thing"
    assert project["entry-points"] == {f"autotl.{kind}s": {"my-thing": "my_thing:MY_THING"}}
    assert "test" in project["optional-dependencies"]


@pytest.mark.parametrize("kind", ["backbone", "head"])
def test_its_module_imports_nothing_heavy_and_only_what_plugins_may(tmp_path: Path, kind: str) -> None:
    write_package("my-thing", kind, tmp_path / "new", {})
    body = ast.parse((tmp_path / "new" / "my_thing" / "__init__.py").read_text()).body
    at_top = {node.module for node in body if isinstance(node, ast.ImportFrom)}
    at_top |= {alias.name for node in body if isinstance(node, ast.Import) for alias in node.names}
    own = {"autotl.backbones.contract", "autotl.heads.contract", "autotl.errors"}
    assert at_top <= own | {"collections.abc", "hashlib", "pathlib", "typing"}


@pytest.mark.keras
@pytest.mark.parametrize("kind", ["backbone", "head"])
def test_its_test_passes_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """What the written test does; docs/plugins.md runs it installed."""
    from autotl.testing import check_backbone, check_head

    name = f"fresh-{kind}"
    write_package(name, kind, tmp_path / name, {})
    monkeypatch.syspath_prepend(tmp_path / name)
    test: dict[str, object] = {}
    exec((tmp_path / name / "tests" / f"test_fresh_{kind}.py").read_text(), test)
    record = test[f"FRESH_{kind.upper()}"]
    (check_backbone if kind == "backbone" else check_head)(record)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("My_Network", "Use my-network, say"),
        ("9lives", "begins with a letter"),
        ("a--b", "Use a-b, say"),
        ("../evil", "Use evil, say"),
        ("", "not such a name"),
        ("x" * 51, "at most 50"),
        ("taken", "registered by somebody"),
        ("keras", "a distribution keras is installed"),
        ("json", "module must be new"),
        ("class", "module must be new"),
    ],
)
def test_a_name_that_will_not_do_is_refused(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        write_package(name, "head", tmp_path / "new", {"taken": "somebody"})
    assert not (tmp_path / "new").exists()


def test_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a backbone or a head, not 'optimizer'"):
        write_package("my-thing", "optimizer", tmp_path / "new", {})


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    with pytest.raises(UsageError, match=r"new folder.*--out"):
        write_package("my-thing", "head", tmp_path / "new", {})
    assert list((tmp_path / "new").iterdir()) == []


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written"):
        write_package("my-thing", "head", tmp_path / "file" / "new", {})


def test_the_next_commands_name_the_folder() -> None:
    assert next_commands("my-thing", "head", Path("new")) == ["pip install ./new", "autotl plugins check my-thing"]
    commands = next_commands("my-thing", "backbone", Path("/a b"))
    assert commands[0] == "pip install '/a b'"
    assert commands[2] == "autotl search sample:clipart --backbone my-thing"
