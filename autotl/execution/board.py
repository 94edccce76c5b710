"""Where the driver of a search and its workers on other machines find each other: a study in an Optuna RDB storage.

A member (the driver, a worker machine) is a RUNNING trial that beats; what it has to say are attributes of the trial.
So atomic changes, JSON, and lives that are measured by the clock of the database are Optuna's
(https://optuna.readthedocs.io/en/stable/reference/generated/optuna.storages.RDBStorage.html), and there is no SQL here.
"""

import contextlib
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autotl.errors import AutotlError, PluginError, UsageError

if TYPE_CHECKING:
    import optuna

HELLO = "hello"
OPENINGS = 3  # the first ones to come make the tables, and all but one of them fail at that
NAMESPACE = "autotl/"  # of studies, so that nobody's own is taken for one
POSTGRESQL_OPTIONS = {  # a machine that is gone is noticed in half a minute (libpq)
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # milliseconds
}


class Unreachable(AutotlError):  # noqa: N818 - it may pass
    """The database does not answer; it may do so later."""


class Gone(AutotlError):  # noqa: N818 - it is no fault
    """A member is none any longer: it has left, or it was declared dead."""


@dataclass(frozen=True)
class Pace:
    """How often things are done. Optuna counts beats and grace in whole seconds.

    Attributes:
        look_seconds: between two looks at what others have written.
        beat_seconds: between two signs of life.
        grace_seconds: without a sign of life after which a member counts as dead.
        patience_seconds: for which the database may be away.
    """

    look_seconds: float = 0.5
    beat_seconds: int = 5
    grace_seconds: int = 60
    patience_seconds: float = 300.0


@dataclass(frozen=True)
class Member:
    """One who is there.

    Attributes:
        id: of its trial.
        number: counts the members of the study from 0; also those that are gone.
        attributes: what was said by it and to it; `HELLO` says who it is.
    """

    id: int
    number: int
    attributes: Mapping[str, Any]

    @property
    def hello(self) -> Mapping[str, Any]:
        """Who it is."""
        return dict(self.attributes[HELLO])


@dataclass(frozen=True)
class Board:
    """The members of one study.

    All methods raise `Unreachable` where the database does not answer, and may be repeated.

    Attributes:
        study: holds the members.
        storage: of it, without the cache of trials that Optuna puts around it.
    """

    study: "optuna.Study"
    storage: "optuna.storages.RDBStorage"

    @property
    def name(self) -> str:
        """What people call it."""
        return self.study.study_name.removeprefix(NAMESPACE)

    def enrol(self, hello: Mapping[str, Any]) -> Member:
        """Become a member. Others see it once all is there, so one that is cut off in between is never seen."""
        with _asking():
            member = self.storage.create_new_trial(self.study._study_id)
            self.storage.record_heartbeat(member)
            self.storage.set_trial_user_attr(member, HELLO, dict(hello))
            return Member(member, self.storage.get_trial_number_from_id(member), {HELLO: dict(hello)})

    def members(self) -> dict[int, Member]:
        """All who are there, by id, in the order in which they came."""
        from optuna.trial import TrialState

        with _asking():
            trials = self.storage.get_all_trials(self.study._study_id, deepcopy=False, states=(TrialState.RUNNING,))
        return {
            trial._trial_id: Member(trial._trial_id, trial.number, trial.user_attrs)
            for trial in trials
            if HELLO in trial.user_attrs
        }

    def read(self, member_id: int) -> dict[str, Any]:
        """What was said by a member and to it; also by one that is gone."""
        with _asking():
            return self.storage.get_trial_user_attrs(member_id)

    def write(self, member_id: int, key: str, value: Any) -> None:
        """Say something by a member or to it. Raises `Gone` where it is none any longer."""
        with _asking():
            self.storage.set_trial_user_attr(member_id, key, value)

    def beat(self, member_id: int) -> None:
        """Give a sign of life."""
        with _asking():
            self.storage.record_heartbeat(member_id)

    def bury(self) -> None:
        """Declare dead who has given no sign of life for too long."""
        from optuna.storages import fail_stale_trials

        with _asking():
            fail_stale_trials(self.study)

    def leave(self, member_id: int, in_order: bool = True) -> None:
        """End a membership; one that has ended stays as it is."""
        from optuna.trial import TrialState

        with contextlib.suppress(Gone), _asking():
            self.storage.set_trial_state_values(member_id, TrialState.PRUNED if in_order else TrialState.FAIL)

    def has_left(self, member_id: int) -> bool | None:
        """None while it is a member; then whether it left in order."""
        from optuna.trial import TrialState

        with _asking():
            state = self.storage.get_trial(member_id).state
        return None if state is TrialState.RUNNING else state is TrialState.PRUNED

    def close(self) -> None:
        """Let go of the connections."""
        self.storage.engine.dispose()


def open_board(url: str, name: str, pace: Pace) -> Board:
    """Reach the study of that name in a database; it is made where there is none.

    Args:
        url: as SQLAlchemy writes it, such as "postgresql+psycopg://HOST/DATABASE".
        name: of the study.
        pace: says when members count as dead.

    Raises:
        UsageError: there is no such database, or the URL holds a password.
        PluginError: the Python driver of the database is not installed.
    """
    address, options = check_url(url)
    import sqlalchemy

    for opening in range(OPENINGS):
        try:
            return _open(address, name, options, pace)
        except ImportError as error:
            raise PluginError(
                f"The database {url} needs a Python driver that is not installed ({_cause(error)}). For PostgreSQL "
                "run: pip install 'autotl[postgres]'"
            ) from error
        except (sqlalchemy.exc.SQLAlchemyError, Unreachable) as error:
            if opening == OPENINGS - 1:
                raise UsageError(
                    f"The driver and the workers of a search meet in a database, and {url} cannot be used: "
                    f"{_cause(error)}. See that it runs, that this machine may reach it, and that the user and the "
                    "database exist (a password goes into ~/.pgpass or PGPASSWORD)."
                ) from error
            time.sleep(0.3 * (opening + 1))
    raise AssertionError


def check_url(url: str) -> tuple[str, dict[str, Any]]:
    """The URL with its Python driver, and what the driver is to be told.

    Raises:
        UsageError: it is no URL of a database, or it holds a password.
    """
    import sqlalchemy

    try:
        found = sqlalchemy.make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):  # which is not shown: there may be a password in it
        raise UsageError(
            "A storage is the URL of a database, and what was given cannot be read as one. Give --storage "
            "postgresql+psycopg://HOST/DATABASE."
        ) from None
    if found.password is not None or any("pass" in key.lower() and key != "passfile" for key in found.query):
        raise UsageError(
            "The URL of a storage is kept in the run directory, and a password in it was given. Leave it out: put "
            "HOST:PORT:DATABASE:USER:PASSWORD into ~/.pgpass (chmod 600), or set PGPASSWORD."
        )
    if found.drivername in ("postgresql", "postgres"):
        found = found.set(drivername="postgresql+psycopg")
    kind = found.get_backend_name()
    if kind == "postgresql":
        return found.render_as_string(), dict(POSTGRESQL_OPTIONS)
    return found.render_as_string(), {"timeout": 10} if kind == "sqlite" else {}


def _open(url: str, name: str, options: Mapping[str, Any], pace: Pace) -> Board:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    with _asking():
        storage = optuna.storages.RDBStorage(
            url,
            {"pool_pre_ping": True, "connect_args": dict(options)},
            heartbeat_interval=pace.beat_seconds,
            grace_period=pace.grace_seconds,
        )
        study = optuna.create_study(study_name=NAMESPACE + name, storage=storage, load_if_exists=True)
        return Board(study, storage)


@contextlib.contextmanager
def _asking() -> Iterator[None]:
    """Give Optuna's and SQLAlchemy's errors their names here."""
    import optuna
    import sqlalchemy

    try:
        yield
    except optuna.exceptions.UpdateFinishedTrialError as error:
        raise Gone(str(error)) from error
    except (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError) as error:
        raise Unreachable(_cause(error)) from error


def _cause(error: BaseException) -> str:
    """What the database itself said, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).strip().partition("\n")[0]
