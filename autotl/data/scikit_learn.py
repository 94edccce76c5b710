"""`sklearn:digits`, the one set of labelled images that scikit-learn brings along."""

from collections.abc import Mapping
from typing import Any

from autotl.data.datasets import DatasetSource
from autotl.errors import DataError


def _load(name: str) -> Mapping[str, Any]:
    if name != "digits":
        raise DataError(f"Of scikit-learn there is sklearn:digits; given was sklearn:{name}. Give that.")
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError(
            f"sklearn:digits comes with scikit-learn, which cannot be imported ({error}). Run: pip install scikit-learn"
        ) from error
    import numpy as np

    digits = load_digits()
    levels = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # it has 17 levels, 0 to 16
    return {"x": levels, "y": digits.target}


SKLEARN = DatasetSource("sklearn", _load, ("digits",), "1797 handwritten digits of 8 x 8 px, in scikit-learn.")
