"""What the driver says of trials, written straight into the tables of Optuna's database.

Optuna's own writes first ask the database, through an object-relational mapper, for whatever another writer may have
left there: 27 ms of processor time a trial (`benchmarks/scaling.py`). A run has one writer, which has it all in memory.
The tables are those of Optuna's models, so what is written here is what Optuna, and its dashboard, read.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial
from sqlalchemy import Connection, Engine, Table, bindparam, func, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

TRIALS: Table = models.TrialModel.__table__
PARAMETERS: Table = models.TrialParamModel.__table__
VALUES: Table = models.TrialValueModel.__table__
REPORTS: Table = models.TrialIntermediateValueModel.__table__
USER: Table = models.TrialUserAttributeModel.__table__
SYSTEM: Table = models.TrialSystemAttributeModel.__table__
COUNT = select(func.count(TRIALS.c.trial_id)).where(TRIALS.c.study_id == bindparam("study"))
UPDATE = update(TRIALS).where(TRIALS.c.trial_id == bindparam("row"))
REPLACE = {table: insert(table).prefix_with("OR REPLACE") for table in (PARAMETERS, VALUES, REPORTS, USER, SYSTEM)}


@dataclass(frozen=True)
class TrialRows:
    """Writes trials; each method is one transaction.

    Attributes:
        engine: of the database.
    """

    engine: Engine

    def add(self, study: int, trial: FrozenTrial) -> int:
        """Write a trial with all that is known of it; its id in the database."""
        with self._writing() as connection:
            number = connection.execute(COUNT, {"study": study}).scalar_one()
            row = {"study_id": study, "number": number, "state": trial.state, **_times(trial)}
            key = connection.execute(insert(TRIALS), row).inserted_primary_key
            assert key is not None
            self._fill(connection, int(key[0]), trial)
            return int(key[0])

    def set_parameter(self, row: int, name: str, value: float, distribution: BaseDistribution) -> None:
        """Write a parameter, in its internal form."""
        self._replace(PARAMETERS, [_parameter(row, name, value, distribution)])

    def set_report(self, row: int, step: int, value: float) -> None:
        """Write the score after a step."""
        self._replace(REPORTS, [_report(row, step, value)])

    def set_attribute(self, table: Table, row: int, key: str, value: Any) -> None:
        """Write an attribute, into `USER` or `SYSTEM`."""
        self._replace(table, _attributes(row, {key: value}))

    def set_state(self, row: int, trial: FrozenTrial) -> None:
        """Write a trial's state, with its values and times."""
        with self._writing() as connection:
            connection.execute(UPDATE, {"row": row, "state": trial.state, **_times(trial)})
            if trial.values:
                connection.execute(REPLACE[VALUES], _values(row, trial.values))

    def _fill(self, connection: Connection, row: int, trial: FrozenTrial) -> None:
        parameters = [
            _parameter(row, name, trial.distributions[name].to_internal_repr(value), trial.distributions[name])
            for name, value in trial.params.items()
        ]
        reports = [_report(row, step, value) for step, value in trial.intermediate_values.items()]
        for table, rows in (
            (PARAMETERS, parameters),
            (VALUES, _values(row, trial.values or [])),
            (REPORTS, reports),
            (USER, _attributes(row, trial.user_attrs)),
            (SYSTEM, _attributes(row, trial.system_attrs)),
        ):
            if rows:
                connection.execute(REPLACE[table], rows)

    def _replace(self, table: Table, rows: list[dict[str, Any]]) -> None:
        with self._writing() as connection:
            connection.execute(REPLACE[table], rows)

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction. Its errors are told as those of Optuna's storage are."""
        try:
            with self.engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise optuna.exceptions.StorageInternalError(f"The study cannot be written: {error}") from error


def _times(trial: FrozenTrial) -> dict[str, datetime | None]:
    return {name: _utc(getattr(trial, name)) for name in ("datetime_start", "datetime_complete")}


def _utc(moment: datetime | None) -> datetime | None:
    """Trials have local times without a zone, the database has UTC without one."""
    return None if moment is None else moment.astimezone(UTC).replace(tzinfo=None)


def _parameter(row: int, name: str, value: float, distribution: BaseDistribution) -> dict[str, Any]:
    described = distribution_to_json(distribution)
    return {"trial_id": row, "param_name": name, "param_value": value, "distribution_json": described}


def _report(row: int, step: int, value: float) -> dict[str, Any]:
    stored, kind = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)
    return {"trial_id": row, "step": step, "intermediate_value": stored, "intermediate_value_type": kind}


def _values(row: int, values: Sequence[float]) -> list[dict[str, Any]]:
    stored = [models.TrialValueModel.value_to_stored_repr(value) for value in values]
    return [
        {"trial_id": row, "objective": objective, "value": value, "value_type": kind}
        for objective, (value, kind) in enumerate(stored)
    ]


def _attributes(row: int, attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"trial_id": row, "key": key, "value_json": json.dumps(value)} for key, value in attributes.items()]
