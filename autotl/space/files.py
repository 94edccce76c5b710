"""Search-space files: where the shipped ones are, finding one by name or path, reading one."""

import tomllib
from pathlib import Path
from typing import NamedTuple

from autotl.errors import UsageError
from autotl.space.faults import did_you_mean, find_faults
from autotl.space.schema import SearchSpace

SUFFIX = ".toml"


class SpaceFile(NamedTuple):
    """A search-space file that ships with autotl."""

    name: str
    path: Path
    comment: tuple[str, ...]
    """The lines of the comment it starts with: what it is for, what it costs, what it reached."""


def spaces_folder() -> Path:
    """Where the shipped files are: in the installed package, or at the root of the repository it runs from."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "search_spaces"
    return installed if installed.is_dir() else package.parent / "search_spaces"


def list_spaces() -> list[SpaceFile]:
    """The shipped search spaces, by name."""
    return [SpaceFile(path.stem, path, leading_comment(path)) for path in sorted(spaces_folder().glob(f"*{SUFFIX}"))]


def leading_comment(path: Path) -> tuple[str, ...]:
    """The lines of the comment at the top of a file, without their marks."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("#").strip())
    return tuple(lines)


def find_space(name_or_path: str | Path) -> Path:
    """The file that is meant: a path (with a folder or `.toml` in it), or the name of a shipped space.

    Raises:
        UsageError: there is no such file or name.
    """
    path = Path(name_or_path).expanduser()
    if path.suffix == SUFFIX or path.name != str(name_or_path):
        if path.is_file():
            return path
        raise UsageError(f"There is no search-space file {path}. Give the path of a .toml file, or a shipped name.")
    shipped = {space.name: space.path for space in list_spaces()}
    if path.name in shipped:
        return shipped[path.name]
    raise UsageError(
        f"There is no search space {path.name!r}.{did_you_mean(path.name, shipped)} Shipped: {', '.join(shipped)}; "
        "or give the path of your own .toml file (autotl spaces show quick is a start)."
    )


def read_space(name_or_path: str | Path) -> SearchSpace:
    """Read and check a search space.

    Raises:
        UsageError: it does not exist, is no TOML, or has faults; all of them are named.
    """
    path = find_space(name_or_path)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"The search space {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:  # faulty TOML, or bytes that are no text
        raise UsageError(f"A search space is a TOML file in UTF-8; {path} is not: {error}. Mend it there.") from error
    if faults := find_faults(raw):
        lines = [f"  {fault.path}: {fault.message}" for fault in faults]
        count = "a fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise UsageError("\n".join([f"The search space {path} has {count} to mend:", *lines]))
    return SearchSpace.model_validate(raw)
