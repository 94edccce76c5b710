"""The `predict.py` beside an exported model: the text of its runtime and a common rest, which need no autotl."""

import ast
from importlib.util import find_spec
from pathlib import Path

from autotl.errors import AutotlError
from autotl.exporters.contract import Exporter

SCRIPT_FILE = "predict.py"
SQUARE_FILE = "square.py"  # a copy of `autotl.data.square`, for what is not simply stretched
_BODY, _SQUARE = "autotl.exporters.script_body", "autotl.data.square"
_STRETCH = "stretch"  # what the script does by itself; others are functions of `_SQUARE` by their names


def write_script(exporter: Exporter, folder: Path, image_size: int, resize: str = _STRETCH) -> Path:
    """Writes `predict.py`; it reads the model and `labels.txt` from the folder that it lies in, and what it imports.

    Args:
        exporter: of the format; its runtime's text becomes part of the script.
        folder: of the exported model.
        image_size: side of the images that the model takes, in pixels.
        resize: how they are made square, one of `autotl.data.decode.RESIZES`.

    Returns:
        The script's path.

    Raises:
        AutotlError: the exporter's runtime is no module with a source text.
    """
    path = folder / SCRIPT_FILE
    path.write_text(render_script(exporter, image_size, resize), encoding="utf-8")
    path.chmod(0o755)
    if resize != _STRETCH:
        (folder / SQUARE_FILE).write_text(_source_of(_SQUARE), encoding="utf-8")
    return path


def render_script(exporter: Exporter, image_size: int, resize: str = _STRETCH) -> str:
    """The text of the script; see `write_script`."""
    sources = [_source_of(exporter.runtime), _source_of(_BODY)]
    imports = sorted({line for source in sources for line in _parts(source, imports=True)})
    square = [] if resize == _STRETCH else [resize]
    modules = [line.removeprefix("import ") for line in imports if line.startswith("import ")]
    return "\n".join(
        [
            "#!/usr/bin/env python3",
            _documentation(exporter),
            f"import {', '.join(modules)}",
            *(line for line in imports if line.startswith("from ")),
            *(f"from {Path(SQUARE_FILE).stem} import {name}" for name in square),
            *(f"\n{part}" if part.startswith("def") else part for source in sources for part in _parts(source)),
            'if __name__ == "__main__":',
            f"    main({', '.join(['load', 'Path(__file__).resolve().parent', str(int(image_size)), *square])})\n",
        ]
    )


def _documentation(exporter: Exporter) -> str:
    packages = " ".join([*exporter.runtime_packages.values(), "numpy", "'pillow>=11.3'"])
    return f'"""python {SCRIPT_FILE} FILES AND FOLDERS labels images, as CSV. Needs: pip install {packages}"""'


def _source_of(module: str) -> str:
    """The text of a module that is not imported: its runtime may be missing here."""
    spec = find_spec(module)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise AutotlError(
            f"The runtime of an exporter is a module with a source text; {module} has none. Tell its author."
        )
    return Path(spec.origin).read_text(encoding="utf-8")


def _parts(source: str, imports: bool = False) -> list[str]:
    """The imports of a module, one a line, or everything else as it is written but for documentation."""
    lines, kept = source.splitlines(), []
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import | ast.ImportFrom) == imports and not _is_text(node):
            first = node.body[0] if isinstance(node, ast.FunctionDef) else node
            hidden = _rows(first) if _is_text(first) else range(0)
            text = "\n".join(lines[row] for row in _rows(node) if row not in hidden)
            kept.append(ast.unparse(node) if imports else text)
    return kept


def _rows(node: ast.stmt) -> range:
    return range(node.lineno - 1, node.lineno if node.end_lineno is None else node.end_lineno)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
