"""The model card: what a model is, how good it is, where it came from, in Markdown with Hugging Face front matter.

Format: https://huggingface.co/docs/hub/model-cards. Class names, data-set names and command lines are the user's: they
are escaped, so that they can neither break a table nor bring in markup.
"""

import json
import re
import shlex
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

_ABSOLUTE = re.compile(r"^((?:[\w-]+:)?)([/~].*)$", re.DOTALL)  # a source of backbones may stand before the path
_MARKUP = re.compile(r"([\\`*_\[\]|~$#!])")
# The identifiers of https://huggingface.co/docs/hub/repositories-licenses that pretrained weights are found under.
_HUB_LICENCES = {
    "apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0", "gpl-3.0", "lgpl-3.0", "agpl-3.0", "mpl-2.0", "unlicense",
}  # fmt: skip

# What the hub calls the formats, as tags and in the place of a library (https://huggingface.co/models, "Libraries").
_HUB_LIBRARIES = {"keras": "keras", "saved_model": "tf", "onnx": "onnx", "litert": "tflite", "openvino": "openvino"}


def render_card(description: Mapping[str, Any]) -> str:
    """Renders the card of a model from the content of its `autotl.json`."""
    from jinja2 import Environment, StrictUndefined

    # Markdown, not HTML: escaping is by the filters below, each value by the one of its place.
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    environment.filters.update(
        md=escape_markdown, code=_code, yaml=_yaml, count=_count, percent=_percent, number=_number, square=_square
    )
    template = environment.from_string(files("autotl.deliver").joinpath("card.md.j2").read_text(encoding="utf-8"))
    licence = description["backbone"]["weights"].get("licence")
    on_hub = str(licence).lower() if str(licence).lower() in _HUB_LICENCES else None
    optional = {
        key: description.get(key)
        for key in ("temperature", "command", "parity", "latency", "ancestors", "plugins", "format", "precision")
    }
    if optional["command"] is not None:
        optional["command"] = _without_folders(str(optional["command"]))
    name = str(description["data"].get("name", "images"))
    data = {**description["data"], "name": Path(name).name or name}  # not whose folders it lay in
    context = {**description, **optional, "data": data, "hub_licence": on_hub, "licence": licence}
    networks = [str(member["backbone"]) for member in description.get("members", [])] or [
        description["backbone"]["name"]
    ]
    library = _HUB_LIBRARIES.get(str(optional["format"]), optional["format"])
    return template.render(
        context,
        library=library,
        networks=networks,
        packages=description.get("runtime_packages", ()),
        one_line=_one_line,
        suspects=_weak_classes(description["test"].get("per_class", [])),
    )


def escape_markdown(value: object) -> str:
    """Text that Markdown shows as it is, on one line, also inside a table."""
    text = _one_line(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKUP.sub(r"\\\1", text)


def _code(value: object) -> str:
    """Text between backticks, which nothing escapes."""
    return _one_line(value).replace("`", "'")


def _one_line(value: object) -> str:
    printable = "".join(character if character.isprintable() else " " for character in str(value))
    return " ".join(printable.split())


def _without_folders(command: str) -> str:
    """A command line whose absolute paths begin at what they name: a card says nothing of the machine it comes from."""
    try:
        words = shlex.split(command)
    except ValueError:  # a quotation without its end: nobody can run that either
        return command
    return shlex.join(_ABSOLUTE.sub(lambda found: found[1] + _end_of(found[2]), word) for word in words)


def _end_of(path: str) -> str:
    """The last part of a path; of a model folder, with the name of its run."""
    parts = [part for part in path.split("/") if part]
    named = [at for at, part in enumerate(parts) if part not in ("model", "model.keras")]
    return "/".join(parts[named[-1] :]) if named else path


def _yaml(value: object) -> str:
    """A JSON text is a YAML text, and a number is one."""
    return json.dumps(
        value if value is None or isinstance(value, int | float) else _one_line(value), ensure_ascii=False
    )


def _count(value: int) -> str:
    return f"{value:d}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _square(resize: Mapping[str, Any]) -> str:
    """What a resize rule does to images that are not square, where it does not stretch them."""
    padded = "in its proportions, centred on the median colour of its edge"
    if resize["mode"] == "pad":
        return f": {padded}"
    if resize["mode"] == "trim":
        tolerance, margin = resize["tolerance"], _percent(resize["margin"])
        without = (
            f"without margins that differ from its edge by at most {tolerance}, but for {margin} of its longer side"
        )
        return f": {without}; then {padded}"
    return ""


def _number(value: float | None, form: str = ".3f") -> str:
    return "–" if value is None else format(value, form)


def _weak_classes(per_class: list[dict[str, Any]], limit: int = 5) -> list[dict[str, Any]]:
    """The classes that are recognised less than half of the time, worst first."""
    weak = [row for row in per_class if row["support"] and row["recall"] < 0.5]
    return sorted(weak, key=lambda row: row["recall"])[:limit]
