"""The rooms of autotl and their arrows, read off the source: no others than those of docs/architecture.md."""

import ast
import functools
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "autotl"
MAX_LINES = 300
MAX_FUNCTION_LINES = 60

# What a room may import, besides itself, `errors` and the version number in `autotl`. `api` is several modules.
ARROWS = {
    "errors": set(),
    "entry_points": set(),
    "references": set(),
    "data": {"entry_points"},
    "backbones": {"entry_points", "references"},
    "heads": {"entry_points", "references"},
    "exporters": {"entry_points"},
    "runtimes": set(),
    "space": set(),
    "runs": set(),
    "execution": {"runs", "entry_points"},
    "learn": {"backbones", "heads", "data"},
    "search": {"execution", "runs", "space", "data", "backbones", "heads", "entry_points"},
    "studies": {"search", "execution", "runs", "data", "backbones"},
    "deliver": {"learn", "backbones", "exporters", "data", "runs", "entry_points"},
    "report": {"runs", "data", "references"},
    "conformance": {"backbones", "heads", "space", "entry_points"},
    "testing": {"conformance"},
    "installed": {"backbones", "heads", "execution", "exporters", "data", "entry_points"},
    "authoring": set(),
    "api": {
        "search",
        "studies",
        "deliver",
        "report",
        "runs",
        "space",
        "data",
        "backbones",
        "heads",
        "exporters",
        "entry_points",
        "conformance",
        "installed",
        "authoring",
    },
    "cli": {"api", "references"},
    "autotl": {"api", "cli"},
}
ROOM_OF_MODULE = {
    "result": "api",
    "choosing": "api",
    "comparing": "api",
    "gaining": "api",
    "pretraining": "api",
    "searches": "api",
    "doctor": "api",
    "plugins": "api",
    "__init__": "autotl",
    "__main__": "autotl",
}
PLUGINS_MAY_IMPORT = {
    "autotl.backbones.contract",
    "autotl.backbones.hypermodel",
    "autotl.data.datasets",
    "autotl.exporters.contract",
    "autotl.heads.contract",
    "autotl.heads.hypermodel",
    "autotl.errors",
    "autotl.testing",
}

# Where each heavy library may be imported at all, and where at the top of a module.
EVERYWHERE = set(ARROWS)
LIBRARIES = {
    "keras": (
        {"data", "learn", "deliver", "backbones", "heads", "conformance", "exporters", "runtimes"},
        {"learn", "runtimes"},  # learn.warm loads it
    ),
    "keras_tuner": ({"heads"}, set()),
    "tensorflow": ({"learn", "deliver", "exporters", "runtimes"}, {"runtimes"}),
    "onnx": ({"exporters"}, set()),
    "onnxruntime": ({"exporters", "runtimes"}, {"runtimes"}),
    "openvino": ({"exporters", "runtimes"}, {"runtimes"}),
    "ai_edge_litert": ({"runtimes"}, {"runtimes"}),
    "optuna": ({"search", "execution"}, {"search"}),
    "pydantic": ({"space"}, {"space"}),
    "numpy": (
        {
            "data",
            "learn",
            "search",
            "studies",
            "deliver",
            "report",
            "backbones",
            "heads",
            "conformance",
            "exporters",
            "runtimes",
        },
        EVERYWHERE - {"backbones", "heads"},
    ),
    "PIL": ({"data", "report", "exporters"}, {"data", "exporters"}),
    "scipy": ({"learn"}, {"learn"}),
    "sklearn": ({"data"}, set()),  # its digits
    "matplotlib": ({"report"}, set()),
    "jinja2": ({"report", "deliver"}, set()),
    "rich": ({"cli"}, {"cli"}),
    "click": ({"cli"}, {"cli"}),
    "torch": ({"learn"}, set()),
    "pickle": (set(), set()),
}


class Import(NamedTuple):
    file: Path
    line: int
    module: str
    names: tuple[str, ...]
    is_top_level: bool

    def __str__(self):
        return f"{self.file.relative_to(ROOT)}:{self.line} imports {self.module}"


def files_of(folder):
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


@functools.cache
def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports_of(path):
    tree = parse(path)
    inside = {id(node) for item in ast.walk(tree) if is_late(item) for node in ast.walk(item)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(path, node.lineno, alias.name, (), id(node) not in inside)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            names = tuple(alias.name for alias in node.names)
            yield Import(path, node.lineno, node.module, names, id(node) not in inside)


def is_late(node):
    """Whether what is below is not executed when the module is imported."""
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


def room_of(parts):
    """The room of a module's path below the package."""
    if parts[:2] == ("exporters", "runtimes"):  # a room of its own: what is pasted into scripts needs nothing of ours
        return "runtimes"
    first = parts[0].removesuffix(".py")
    return ROOM_OF_MODULE.get(first, first)


def targets(item):
    """The rooms that an import leads to; importing the bare package leads to its public names."""
    parts = item.module.split(".")
    if parts[0] != "autotl":
        return set()
    if len(parts) > 1:
        return {room_of(tuple(parts[1:]))}
    rooms = {path.stem for path in PACKAGE.iterdir()}
    return {room_of([name]) if name in rooms else "autotl" for name in item.names if name != "__version__"}


ALL_IMPORTS = [item for path in files_of(PACKAGE) for item in imports_of(path)]


def own_room(item):
    return room_of(item.file.relative_to(PACKAGE).parts)


def test_every_room_is_on_the_list():
    rooms = {room_of(path.relative_to(PACKAGE).parts) for path in files_of(PACKAGE)}
    assert rooms <= set(ARROWS)


def test_there_are_no_other_arrows_than_those_of_the_design():
    wrong = [
        f"{item} ({own_room(item)} -> {target})"
        for item in ALL_IMPORTS
        for target in targets(item)
        if target not in ARROWS[own_room(item)] | {own_room(item), "errors"}
    ]
    assert wrong == []


def test_errors_are_plain_python():
    assert [str(item) for item in ALL_IMPORTS if item.file.name == "errors.py"] == []


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_stays_in_its_rooms(library):
    allowed, at_top = LIBRARIES[library]
    found = [item for item in ALL_IMPORTS if item.module.split(".")[0] == library]
    assert [str(item) for item in found if own_room(item) not in allowed] == []
    assert [f"{item} at its top" for item in found if item.is_top_level and own_room(item) not in at_top] == []


def test_the_driver_names_the_worker_and_never_imports_it():
    rooms = {"search", "execution", "runs", "data", "space", "cli", "api"}
    assert [str(item) for item in ALL_IMPORTS if own_room(item) in rooms and "learn" in targets(item)] == []


def test_plugins_use_the_public_contract_only():
    wrong = [
        str(item)
        for path in files_of(ROOT / "plugins")
        if "tests" not in path.parts
        for item in imports_of(path)
        if item.module.split(".")[0] == "autotl" and item.module not in PLUGINS_MAY_IMPORT
    ]
    assert wrong == []


def test_room_packages_hold_a_docstring_only():
    for path in PACKAGE.rglob("__init__.py"):
        if path.parent != PACKAGE:
            assert len(parse(path).body) <= 1, f"{path.relative_to(ROOT)} has more than a docstring"


def test_every_module_says_what_it_is_for():
    assert [str(path.relative_to(ROOT)) for path in files_of(PACKAGE) if ast.get_docstring(parse(path)) is None] == []


def test_files_and_functions_are_short():
    long_files = {str(path.relative_to(ROOT)): count_lines(path) for path in files_of(PACKAGE)}
    assert {name: lines for name, lines in long_files.items() if lines >= MAX_LINES} == {}
    long_functions = [
        f"{path.relative_to(ROOT)}:{node.name}"
        for path in files_of(PACKAGE)
        for node in ast.walk(parse(path))
        if isinstance(node, ast.FunctionDef) and code_lines(node) > MAX_FUNCTION_LINES
    ]
    assert long_functions == []


def count_lines(path):
    return len(path.read_text(encoding="utf-8").splitlines())


def code_lines(function):
    """Lines of a function without its docstring."""
    first = function.body[0]
    is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    documentation = first.end_lineno - first.lineno + 1 if is_docstring else 0
    return function.end_lineno - function.lineno + 1 - documentation


def test_nothing_catches_everything_silently():
    silent = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in files_of(PACKAGE)
        for node in ast.walk(parse(path))
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]
    assert silent == []
