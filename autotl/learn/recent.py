"""A memory of results that is bounded by their bytes: what was used last stays."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def keep_recent(limit: int, size: Callable[[R], int]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function of hashable arguments so that its latest results are kept, `limit` bytes in all.

    The last result is kept whatever its size.

    Args:
        limit: in bytes.
        size: the bytes of a result.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        kept: OrderedDict[Hashable, R] = OrderedDict()

        @wraps(function)
        def remembering(*args: P.args, **kwargs: P.kwargs) -> R:
            key = (args, tuple(sorted(kwargs.items())))
            if key not in kept:
                kept[key] = function(*args, **kwargs)
            kept.move_to_end(key)
            while len(kept) > 1 and sum(map(size, kept.values())) > limit:
                kept.popitem(last=False)
            return kept[key]

        return remembering

    return decorate
