"""The study database, and all of it in memory: the driver is its only writer, so nothing needs to be read twice.

Optuna reads a trial that runs from the database whenever it looks at a study: with 64 trials running that took 0.5 s of
every trial (`benchmarks/scaling.py`). Here reads are answered from memory, and every write goes to the database first.
"""

import sqlite3
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState


def open_storage(path: Path) -> "MirroredStorage":
    """Open (or create) the study database. It has one writer: the driver that holds the run's lock."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    database = RDBStorage(f"sqlite:///{path}", engine_kwargs={"creator": partial(_connect, path)})
    storage = MirroredStorage(database)
    storage.load()
    return storage


def _connect(path: Path) -> sqlite3.Connection:
    """A commit must be safe from power cuts without waiting for the disk each time: 0.05 ms in the place of 13.

    After a power cut SQLite's write-ahead log may lack the last commits, and is whole all the same.
    """
    connection = sqlite3.connect(path, timeout=60.0, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


class MirroredStorage(InMemoryStorage):
    """Implements Optuna's `BaseStorage` for one writer.

    A trial that is asked for comes into the database in one piece, with its parameters, when something else is said of
    it for the first time (its number, a report, its end). A driver that dies before that has started nothing.
    """

    def __init__(self, database: RDBStorage) -> None:
        """Args:
        database: where everything is kept; `load` takes in what it has.
        """
        super().__init__()
        self._database = database
        self._study_rows: dict[int, int] = {}  # ids in the database by ids here
        self._trial_rows: dict[int, int] = {}

    def load(self) -> None:
        """Take in all that the database has. To be called once, before anything is written."""
        for study in self._database.get_all_studies():
            here = super().create_new_study(study.directions, study.study_name)
            self._study_rows[here] = study._study_id
            for key, value in study.user_attrs.items():
                super().set_study_user_attr(here, key, value)
            for key, value in study.system_attrs.items():
                super().set_study_system_attr(here, key, value)
            for trial in self._database.get_all_trials(study._study_id):
                row = trial._trial_id
                self._trial_rows[super().create_new_trial(here, trial)] = row

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        row = self._database.create_new_study(directions, study_name)
        here = super().create_new_study(directions, self._database.get_study_name_from_id(row))
        self._study_rows[here] = row
        return here

    def delete_study(self, study_id: int) -> None:
        self._database.delete_study(self._study_rows[study_id])
        super().delete_study(study_id)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self._database.set_study_user_attr(self._study_rows[study_id], key, value)
        super().set_study_user_attr(study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._database.set_study_system_attr(self._study_rows[study_id], key, value)
        super().set_study_system_attr(study_id, key, value)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        row = None
        if template_trial is not None:
            row = self._database.create_new_trial(self._study_rows[study_id], template_trial)
        here = super().create_new_trial(study_id, template_trial)
        if row is not None:
            self._trial_rows[here] = row
        return here

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        if trial_id in self._trial_rows:  # one that was queued, or of an earlier driver
            row = self._trial_rows[trial_id]
            self._database.set_trial_param(row, param_name, param_value_internal, distribution)
        super().set_trial_param(trial_id, param_name, param_value_internal, distribution)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        if trial_id in self._trial_rows:
            self._database.set_trial_system_attr(self._trial_rows[trial_id], key, value)
        super().set_trial_system_attr(trial_id, key, value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._database.set_trial_user_attr(self._row(trial_id), key, value)
        super().set_trial_user_attr(trial_id, key, value)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        self._database.set_trial_intermediate_value(self._row(trial_id), step, intermediate_value)
        super().set_trial_intermediate_value(trial_id, step, intermediate_value)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        self._database.set_trial_state_values(self._row(trial_id), state, values)
        return super().set_trial_state_values(trial_id, state, values)

    def _row(self, trial_id: int) -> int:
        """The trial's id in the database; it is written there now if it has not been."""
        if trial_id not in self._trial_rows:
            study_id, _ = self._trial_id_to_study_id_and_number[trial_id]
            trial = self.get_trial(trial_id)
            self._trial_rows[trial_id] = self._database.create_new_trial(self._study_rows[study_id], trial)
        return self._trial_rows[trial_id]
