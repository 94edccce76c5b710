"""Two who write to each other in one place each: nothing is lost and nothing arrives twice, however often either reads.

What is written replaces what was written before. So a letter holds all that the other one may not have yet, numbered,
and how much has arrived of the other's; both may be written and read again at any time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Mail:
    """One end.

    Attributes:
        items: that the other end may not have yet.
        arrived: how many had arrived there before those.
        received: how many have arrived here.
    """

    items: list[Any] = field(default_factory=list)
    arrived: int = 0
    received: int = 0
    _written: tuple[int, int] = (0, 0)  # what the last letter said: the end of its items, and what had arrived

    def say(self, item: Any) -> None:
        """Have something to say, which is JSON."""
        self.items.append(item)

    def has_news(self) -> bool:
        """Whether a letter would say more than the last one that was written."""
        return self._written != self._state()

    def letter(self) -> dict[str, Any]:
        """What to write now; `wrote` says that it was."""
        return {"first": self.arrived, "items": list(self.items), "received": self.received}

    def wrote(self, letter: Mapping[str, Any]) -> None:
        """A letter is where the other end looks."""
        self._written = (letter["first"] + len(letter["items"]), letter["received"])

    def read(self, letter: Mapping[str, Any] | None) -> list[Any]:
        """What is new in a letter of the other end; None is one that was not written yet."""
        if letter is None:
            return []
        del self.items[: max(0, letter["received"] - self.arrived)]
        self.arrived = max(self.arrived, letter["received"])
        new = list(letter["items"][max(0, self.received - letter["first"]) :])
        self.received += len(new)
        return new

    def _state(self) -> tuple[int, int]:
        return (self.arrived + len(self.items), self.received)
