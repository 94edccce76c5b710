"""What a search hands back: the JSON object of `autotl search --json`, readable in a program and in a notebook."""

import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, repr=False)
class SearchResult:
    """The outcome of a finished search.

    Attributes:
        values: the whole JSON object, plain types only.
    """

    values: Mapping[str, Any]

    @property
    def run(self) -> Path:
        """The run directory."""
        return Path(self.values["run"])

    @property
    def model(self) -> Path:
        """The folder of the delivered model."""
        return Path(self.values["model"])

    @property
    def best(self) -> Mapping[str, Any]:
        """The configuration that was chosen: backbone, image_size, freeze_depth, head, ..."""
        return _mapping(self.values["best"])

    @property
    def validation(self) -> Mapping[str, float]:
        """Scores that the configuration was chosen by: log_loss, accuracy, balanced_accuracy, ..."""
        return _mapping(self.values["validation"])

    @property
    def test(self) -> Mapping[str, Any]:
        """Scores on the test split, which was read once, with 95 % intervals."""
        return _mapping(self.values["test"])

    @property
    def trials(self) -> Mapping[str, int]:
        """How many trials were complete, pruned and failed."""
        return _mapping(self.values["trials"])

    @property
    def seconds(self) -> float:
        """Wall time of the search."""
        return float(self.values["seconds"])

    @property
    def cost(self) -> Mapping[str, float]:
        """Slot seconds by phase, idle time included."""
        return _mapping(self.values["cost"])

    def predict(
        self, paths: str | Path | Iterable[str | Path], top_k: int = 1, threshold: float | None = None
    ) -> list[dict[str, Any]]:
        """Predict images with the delivered model, as `autotl.predict` does."""
        from autotl.api import predict

        return list(predict(self.model, paths, top_k=top_k, threshold=threshold))

    def __repr__(self) -> str:
        lines = [f"  {name}: {value}" for name, value in self._rows()]
        return "\n".join(["SearchResult", *lines])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(value)}</td></tr>"
            for name, value in self._rows()
        )
        return f"<table>{rows}</table>"

    def _rows(self) -> list[tuple[str, str]]:
        test, trials = self.test, self.trials
        low, high = test["accuracy_ci95"]
        return [
            ("model", str(self.model)),
            ("best", ", ".join(f"{name}={value}" for name, value in self.best.items())),
            ("validation", f"accuracy {self.validation['accuracy']:.3f}, log-loss {self.validation['log_loss']:.3f}"),
            ("test", f"accuracy {test['accuracy']:.3f} [{low:.3f}, {high:.3f}] on {test['n']} images"),
            ("trials", ", ".join(f"{count} {state}" for state, count in trials.items())),
            ("seconds", f"{self.seconds:.1f}"),
        ]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
