"""The delivered model as a search was asked to deploy it: exported, verified, and held to the budgets once more."""

from pathlib import Path
from typing import Any

from autotl.data.store import Cache, default_cache, default_max_bytes
from autotl.runs.directory import open_run
from autotl.runs.files import read_json, write_json


def with_deployed(result: dict[str, Any]) -> dict[str, Any]:
    """Export the model of a finished search in the format of its request, if it asked for one and has none yet.

    Returns:
        The result, with `export` (format, precision, folder, bytes, state, ...) and with `budgets` as they are kept by
        the exported files. It is written into the run too.

    Raises:
        AutotlError: packages are missing.
    """
    run = open_run(Path(result["run"]))
    request = read_json(run.request_path)
    if request.get("deploy") is None or "export" in result:
        return result
    from autotl.deliver.export import export_model

    where = request.get("cache_dir")
    cache = default_cache() if where is None else Cache(Path(where), default_max_bytes(Path(where)))
    (export,) = export_model(run.path, [request["deploy"]], cache=cache)["exports"]
    result = {**result, "export": export}
    if "budgets" in result:
        result["budgets"] = {**result["budgets"], **_held(result["budgets"], export)}
    write_json(run.result_path, result)
    return result


def _held(budgets: dict[str, Any], export: dict[str, Any]) -> dict[str, Any]:
    """The budgets beside what the export was found to cost; of two measured times the better one counts."""
    latency = export.get("latency")
    found = {"size": export.get("bytes"), "latency": None if latency is None else latency["p50_milliseconds"]}
    held = {}
    for name, measured in found.items():
        if name in budgets and measured is not None:
            value = min(measured, budgets[name]["measured"]) if name == "latency" else measured
            held[name] = {**budgets[name], "measured": value, "holds": value <= budgets[name]["budget"]}
    return held
