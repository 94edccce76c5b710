"""Numbers and configurations in the words of people."""

from collections.abc import Mapping
from typing import Any

from autotl.references import short_name

METRIC_NAMES = {
    "log_loss": "log-loss",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "auroc": "AUROC",
}
POOLINGS = {
    "avg": "average pooling",
    "max": "max pooling",
    "both": "average and max pooling",
    "gem": "generalised-mean pooling",
    "attention": "attention pooling",
}
RESIZES = {"pad": "padded to squares", "trim": "trimmed and padded to squares"}
AUGMENTATIONS = {"none": "no augmentation", "flip": "flipped views"}


def duration(seconds: float) -> str:
    """0.8 s, 42 s, 3 min 05 s, 2 h 10 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(count: float) -> str:
    """1234567 as 1.2 M."""
    for unit, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count:g}"


def metric_name(metric: str | None) -> str:
    """The name of a metric, or "score" when it is not known."""
    return "score" if metric is None else METRIC_NAMES.get(metric, metric)


def score(value: float | None) -> str:
    """A score with the digits that mean something."""
    return "" if value is None else f"{value:.4f}"


def interval(values: Mapping[str, Any], name: str) -> str:
    """A score with its 95 % interval, where there is one."""
    bounds = values.get(f"{name}_ci95")
    if bounds is None:
        return f"{values[name]:.3f}"
    return f"{values[name]:.3f} (95 % interval {bounds[0]:.3f} to {bounds[1]:.3f})"


def configuration(config: Mapping[str, Any]) -> str:
    """What a configuration is, in one line: network, size, what is trained, head, augmentation."""
    parts = [f"{short_name(str(config.get('backbone', '?')))} at {config.get('image_size', '?')} px"]
    if config.get("resize") in RESIZES:
        parts.append(RESIZES[config["resize"]])
    if config.get("recipe") == "scratch":
        return ", ".join([*parts, "trained from scratch"])
    if config.get("recipe") == "finetune":
        parts.append(f"fine-tuned with the first {100 * config.get('freeze_depth', 0.0):.0f} % frozen")
    else:
        parts.append("frozen")
    if config.get("weights") == "random":
        parts.append("with random weights")
    if "pooling" in config:
        parts.append(POOLINGS.get(config["pooling"], str(config["pooling"])))
    parts.append(_head(config))
    if "augmentation" in config:
        parts.append(AUGMENTATIONS.get(config["augmentation"], f"{config['augmentation']} augmentation"))
    return ", ".join(parts)


def brief(config: Mapping[str, Any]) -> str:
    """A configuration as short as a table's column: what tells trials apart, in the order of a configuration."""
    names = ("backbone", "image_size", "resize", "freeze_depth", "pooling", "head", "augmentation")
    hidden = {"freeze_depth"} if config.get("recipe") == "probe" else set()
    hidden |= {"resize"} if config.get("resize") == "stretch" else set()
    words = [_brief(name, config[name]) for name in names if name in config and name not in hidden]
    if config.get("recipe") == "finetune" or config.get("head") == "mlp":
        rates = [f"{config[name]:.2g}" for name in ("head_rate", "tail_rate") if isinstance(config.get(name), float)]
        words += ["rates " + "/".join(rates)] if rates else []
    elif isinstance(config.get("penalty"), float):
        words.append(f"penalty {config['penalty']:.2g}")
    return " ".join(words)


def _head(config: Mapping[str, Any]) -> str:
    if config.get("head") == "mlp":
        layers = config.get("depth", 1)
        return f"MLP head ({layers} x {config.get('width', '?')} units)"
    if "penalty" in config and config.get("recipe") != "finetune":
        return f"linear head with penalty {config['penalty']:.2g}"
    return f"{config.get('head', 'linear')} head"


def _brief(name: str, value: object) -> str:
    if name == "backbone":
        return short_name(str(value))
    return f"freeze {value:g}" if name == "freeze_depth" and isinstance(value, float) else str(value)
