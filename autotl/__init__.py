"""autotl searches for the best image classifier that transfer learning can give you.

```python
import autotl

result = autotl.search("photos/", space="quick", budget="5m")
print(result.test["accuracy"], result.model)
```

Public names are resolved when they are first used: importing autotl imports nothing heavy.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autotl.api import (
        check_data,
        compare,
        evaluate,
        export,
        gain,
        predict,
        pretrain,
        report,
        resume,
        search,
        status,
        stop,
    )
    from autotl.errors import AutotlError, DataError, Interrupted, NoTrialError, ParityError, PluginError, UsageError
    from autotl.result import SearchResult

__version__ = "0.1.0"

_HOMES = {
    "autotl.api": (
        "check_data", "compare", "evaluate", "export", "gain", "predict", "pretrain", "report", "resume", "search",
        "status", "stop",
    ),
    "autotl.errors": (
        "AutotlError", "DataError", "Interrupted", "NoTrialError", "ParityError", "PluginError", "UsageError",
    ),
    "autotl.result": ("SearchResult",),
}  # fmt: skip

__all__ = [
    "AutotlError",
    "DataError",
    "Interrupted",
    "NoTrialError",
    "ParityError",
    "PluginError",
    "SearchResult",
    "UsageError",
    "__version__",
    "check_data",
    "compare",
    "evaluate",
    "export",
    "gain",
    "predict",
    "pretrain",
    "report",
    "resume",
    "search",
    "status",
    "stop",
]


class _Package(ModuleType):
    """Keeps the functions `search` and `report` in place.

    Python sets an imported submodule as an attribute of its package. Two rooms carry the name of a public function:
    without this, `autotl.search(...)` would work until something imports `autotl.search.request`.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (isinstance(value, ModuleType) and name in __all__):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    """Resolve a public name (PEP 562)."""
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
