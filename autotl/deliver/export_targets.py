"""Which formats to write: names made into exporters, and everything refused that can be refused before any work."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from autotl.errors import AutotlError, PluginError, UsageError
from autotl.exporters.contract import Exporter
from autotl.exporters.registry import (
    list_exporters,
    load_exporter,
    missing_packages,
    parse_format,
    require_runtime,
    require_writer,
)

ALL = "all"


@dataclass(frozen=True)
class Target:
    """One format in one precision."""

    exporter: Exporter
    precision: str

    @property
    def name(self) -> str:
        """Of its folder: "onnx-int8"."""
        return f"{self.exporter.name}-{self.precision}"


@dataclass(frozen=True)
class LeftOut:
    """A format that `all` does not write here, and why."""

    format: str
    reason: str


def choose_targets(
    formats: Sequence[str], precision: str | None, backbone: Mapping[str, Any], verify: bool
) -> tuple[list[Target], list[LeftOut]]:
    """Makes names into what is to be written, each once, in the order of the names.

    Args:
        formats: "onnx", "litert:int8", or "all": every format that can be written and run here.
        precision: of the formats that name none; by default each one's own.
        backbone: `backbone` of the model's description.
        verify: whether the runtimes are needed too.

    Raises:
        UsageError: there is no such format or precision, or the network is known not to work in it.
        AutotlError: packages are missing.
    """
    if not formats:
        raise UsageError(f"An export needs at least one format; none was given. {_known()}")
    refusals = _declared_impossible(backbone)
    targets: dict[str, Target] = {}
    left_out: list[LeftOut] = []
    for text in formats:
        if text == ALL:
            found, left_out = _all_targets(precision, refusals, verify)
        else:
            found = [_one_target(text, precision, refusals, verify)]
        targets |= {target.name: target for target in found if target.name not in targets}
    if not targets:
        reasons = "; ".join(f"{item.format}: {item.reason}" for item in left_out)
        raise AutotlError(f"No format can be written here. {reasons}")
    return list(targets.values()), left_out


def _one_target(text: str, precision: str | None, refusals: Mapping[str, str], verify: bool) -> Target:
    target = Target(*parse_format(text, precision))
    reason = _refusal(target, refusals)
    if reason is not None:
        raise UsageError(
            f"This network cannot be exported as {target.exporter.name} in {target.precision}: {reason}. "
            "Choose another format or precision."
        )
    require_writer(target.exporter)
    if verify:
        require_runtime(target.exporter)
    return target


def _all_targets(
    precision: str | None, refusals: Mapping[str, str], verify: bool
) -> tuple[list[Target], list[LeftOut]]:
    targets, left_out = [], []
    for listing in list_exporters():
        try:
            exporter = load_exporter(listing.name)
        except PluginError as error:
            left_out.append(LeftOut(listing.name, str(error)))
            continue
        target = Target(exporter, next(iter(exporter.precisions)) if precision is None else precision)
        missing = missing_packages({**exporter.writer_packages, **(exporter.runtime_packages if verify else {})})
        reason = _refusal(target, refusals)
        if target.precision not in exporter.precisions:
            reason = f"it has no {target.precision}"
        elif missing:
            reason = f"{', '.join(missing)} is not installed"
        if reason is None:
            targets.append(target)
        else:
            left_out.append(LeftOut(exporter.name, reason))
    return targets, left_out


def _declared_impossible(backbone: Mapping[str, Any]) -> dict[str, str]:
    """What the network's author says cannot be exported: "FORMAT" or "FORMAT:PRECISION" to the reason."""
    declared: dict[str, str] = {}
    name, recorded = backbone.get("name"), backbone.get("not_exported", {})
    if isinstance(name, str) and name in entry_points(group="autotl.backbones").names:
        from autotl.backbones.registry import load_backbone

        with suppress(PluginError):  # the model needs no plugin that could build its backbone anew
            declared |= load_backbone(name).not_exported
    if isinstance(recorded, Mapping):
        declared |= {str(key): str(reason) for key, reason in recorded.items()}
    return declared


def _refusal(target: Target, refusals: Mapping[str, str]) -> str | None:
    return refusals.get(target.exporter.name, refusals.get(f"{target.exporter.name}:{target.precision}"))


def _known() -> str:
    return f"There are {', '.join(listing.name for listing in list_exporters())}, and {ALL}."
