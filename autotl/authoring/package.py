"""Writing a new plugin package: it installs, and its test passes, before anything is changed."""

import keyword
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from string import Template

from autotl import __version__
from autotl.errors import UsageError

KINDS = ("backbone", "head")
TEMPLATES = Path(__file__).with_name("templates")
SUFFIX = ".template"  # so that no tool takes a template for Python
MODULE = "MODULE"
MAX_NAME_LENGTH = 50
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def write_package(name: str, kind: str, folder: Path, registered: Mapping[str, str]) -> list[Path]:
    """Write a package with one backbone or head into a new folder; nothing is ever overwritten.

    Args:
        name: of the distribution and of what it registers; its module is called the same, with underscores.
        kind: "backbone" or "head".
        folder: the folder to make.
        registered: names that are taken, with the distributions that own them.

    Returns:
        The files, relative to the folder.

    Raises:
        UsageError: the name will not do or is taken, or the folder exists or cannot be made.
    """
    if kind not in KINDS:
        raise UsageError(f"A plugin is a {' or a '.join(KINDS)}, not {kind!r}.")
    _check_name(name, registered)
    if folder.exists():
        raise UsageError(
            f"A new plugin gets a new folder, {folder} exists already. Use another name, or another --out."
        )
    module = module_of(name)
    values = {
        "name": name, "kind": kind, "module": module, "constant": module.upper(), "version": __version__,
        "folder": folder.name,
    }  # fmt: skip
    contents = {
        Path(str(path.relative_to(root)).replace(MODULE, module).removesuffix(SUFFIX)): Template(
            path.read_text(encoding="utf-8")
        ).substitute(values)
        for root in (TEMPLATES / "shared", TEMPLATES / kind)
        for path in sorted(root.rglob(f"*{SUFFIX}"))
    }
    try:
        folder.mkdir(parents=True)
        for path, content in contents.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(content, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"The folder {folder} cannot be written ({error}). Use another --out.") from error
    return sorted(contents)


def next_commands(name: str, kind: str, folder: Path) -> list[str]:
    """What to go on with, as commands."""
    place = str(folder) if folder.is_absolute() else f"./{folder}"
    install = f"pip install '{place}'" if re.search(r"[^\w./-]", place) else f"pip install {place}"
    commands = [install, f"autotl plugins check {name}"]
    return [*commands, f"autotl search sample:clipart --backbone {name}"] if kind == "backbone" else commands


def module_of(name: str) -> str:
    """The Python module of a distribution."""
    return name.replace("-", "_")


def _check_name(name: str, registered: Mapping[str, str]) -> None:
    """Insist on a name that can be a distribution, a module and an entry point, and that nobody has."""
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME_LENGTH:
        likely = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        suggestion = f" Use {likely}, say." if _NAME.fullmatch(likely) and len(likely) <= MAX_NAME_LENGTH else ""
        raise UsageError(
            f"A plugin's name has small letters and digits in words joined by hyphens, begins with a letter and is at "
            f"most {MAX_NAME_LENGTH} long, like my-network; {name!r} is not such a name.{suggestion}"
        )
    if name in registered:
        raise UsageError(f"A plugin's name must be new, {name} is registered by {registered[name]}. Use another.")
    if _is_installed(name):
        raise UsageError(f"A plugin's name must be new, a distribution {name} is installed. Use another.")
    module = module_of(name)
    if keyword.iskeyword(module) or find_spec(module) is not None:
        raise UsageError(
            f"A plugin's module must be new to Python, {module} would hide another or be hidden. Use another name, "
            f"my-{name} say."
        )


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
