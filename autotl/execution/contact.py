"""Getting along while a database is away for a while: try again later, and give up at last."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from autotl.errors import AutotlError
from autotl.execution.board import Pace, Unreachable

logger = logging.getLogger(__name__)
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 10.0
QUIET_SECONDS = 2.0  # SQLite makes one wait for the other now and then


@dataclass
class Contact:
    """Whether the database answers. Nothing here waits.

    Attributes:
        pace: how long it may be away.
        since: the time at which contact was made, or lost.
        is_lost: which of the two.
        clock: gives seconds.
    """

    pace: Pace
    since: float
    is_lost: bool = False
    clock: Callable[[], float] = time.monotonic
    _retry_at: float = 0.0
    _has_told: bool = False

    def attempt(self, action: Callable[[], None]) -> bool:
        """Do what needs the database, if it is time to. `action` is repeated as a whole until it has come through.

        Returns:
            Whether it did.

        Raises:
            AutotlError: the database has been away for too long.
        """
        if self.is_lost and self.clock() < self._retry_at:
            return False
        try:
            action()
        except Unreachable as error:
            self._lose(error)
            return False
        if self.is_lost:
            self.is_lost, self.since = False, self.clock()
            if self._has_told:
                logger.warning("The database answers again.")
                self._has_told = False
        return True

    def may_bury(self) -> bool:
        """Whether silence tells of a death: not while others may have been without the database as well."""
        return not self.is_lost and self.clock() - self.since > self.pace.grace_seconds

    def _lose(self, error: Unreachable) -> None:
        now = self.clock()
        if not self.is_lost:
            self.is_lost, self.since = True, now
        away_seconds = now - self.since
        if away_seconds >= QUIET_SECONDS and not self._has_told:
            logger.warning("The database does not answer (%s). Jobs go on, and it is asked again and again.", error)
            self._has_told = True
        if away_seconds > self.pace.patience_seconds:
            raise AutotlError(
                f"The driver and the workers of a search meet in a database, and for {away_seconds:.0f} s it has not "
                f"answered: {error}. What has finished is saved: see to the database, and go on with: autotl resume RUN"
            ) from error
        self._retry_at = now + min(LONGEST_PAUSE_SECONDS, max(FIRST_PAUSE_SECONDS, away_seconds / 4))
