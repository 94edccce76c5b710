"""Networks compared under one protocol: frozen, partly and fully trained, same head, same images, same tuning."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from autotl.backbones.contract import RANDOM
from autotl.data.folds import make_folds
from autotl.execution.protocol import Job
from autotl.search.context import OnEvent
from autotl.search.dispatch import Outcome
from autotl.studies.compare_plan import (
    AUGMENTATION,
    FROZEN,
    Network,
    Request,
    check_request,
    config_of,
    find_networks,
    levels_of,
    tail_share,
    to_json,
)
from autotl.studies.compare_rows import Course, Row, tabulate
from autotl.studies.compare_words import conclude
from autotl.studies.fits import in_two_parts, reason_of, run_fits
from autotl.studies.session import Session, Setup, finished_result, open_session, write_result

TUNING_PARTS = 5  # rates are chosen on one part of so many of the images that are fitted to
BACKWARD = 2  # passes that the gradients of a layer cost
VIEWS = {"none": 1, AUGMENTATION: 2}
START_SECONDS = 5.0  # to build and trace a network that is trained


def run_compare(request: Request, setup: Setup, on_event: OnEvent) -> dict[str, Any]:
    """Compare networks; what ended in `setup.out` already is only read.

    Returns:
        `run`, `study`, the request, `images` ({train, test}), `rows` and `conclusion`; see docs/studies.md.

    Raises:
        UsageError: the request cannot be meant, or a network is not to be had.
        DataError: the images cannot be used.
        NoTrialError: no row came to an end.
        Interrupted: it was stopped, and can be gone on with.
    """
    check_request(request)
    networks = find_networks(request)
    asked = to_json(request, networks)
    if (before := finished_result(asked, setup)) is not None:
        return before
    sizes = sorted({network.image_size for network in networks})
    with open_session(asked, setup, sizes, on_event, in_two_parts) as session:
        result = _compare(session, request, networks)
        write_result(session, result)
    return result


def _compare(session: Session, request: Request, networks: Sequence[Network]) -> dict[str, Any]:
    timings = _time(session, networks)
    rows = _rows(request, networks)
    slots = max(1, len(session.dispatcher.executor.slots()))
    seconds = sum(_expect(session, request, timings.get(row.network), row) for row in rows) / slots
    session.tell("plan", trials=sum(len(row.tuning) + len(row.final) for row in rows), seconds=seconds)
    settled = _settle(session, rows)
    courses: list[Course] = []
    for place, network in enumerate(networks, start=1):
        mine = [row for row in rows if row.network is network]
        name = f"{network.record.label} ({network.weights} weights)"
        session.begin("compare", f"{name} at {network.image_size} px, network {place} of {len(networks)}")
        for level in (FROZEN, None):  # frozen first: it makes the store that the others begin from
            chosen = [row for row in mine if (row.level == FROZEN) == (level == FROZEN)]
            courses += _run_rows(session, request, chosen, settled) if chosen else []
    return _result(session, courses, timings)


def _rows(request: Request, networks: Sequence[Network]) -> list[Row]:
    """All rows; the numbers of their jobs are the same under every driver."""
    number, rows = len(networks), []

    def take(count: int) -> tuple[int, ...]:
        nonlocal number
        number += count
        return tuple(range(number - count + 1, number + 1))

    rates = len(set(request.rates))
    for network in networks:
        for level in levels_of(network, request):
            is_solved = level == FROZEN  # exactly, whatever the seed, and without a rate
            tuning = take(0 if is_solved or rates == 1 else rates)
            rows.append(Row(network, level, tuning, take(1 if is_solved else request.seeds)))
    return rows


def _time(session: Session, networks: Sequence[Network]) -> dict[Network, dict[str, Any]]:
    session.begin("check", f"timing {len(networks)} network{'' if len(networks) == 1 else 's'}")
    jobs = [
        session.job(number, "timing", network.to_json(), session.seed_for("timing"))
        for number, network in enumerate(networks, start=1)
    ]
    outcomes = session.run_jobs(jobs)
    return {
        network: outcome.result
        for network, outcome in zip(networks, outcomes, strict=True)
        if outcome.result is not None
    }


def _settle(session: Session, rows: Sequence[Row]) -> dict[Network, str]:
    """Files of random weights whose batch statistics are those of the images: else frozen features would be dead.

    A network that has none keeps the weights that it was built with; its first fit says what is wrong with it.
    """
    last = max(number for row in rows for number in row.final)
    networks = [row.network for row in rows if row.level == FROZEN and row.network.weights == RANDOM]
    seed = session.seed_for("repeat/0")
    jobs = [
        session.job(last + place, "settle", network.to_json(), seed) for place, network in enumerate(networks, start=1)
    ]
    outcomes = session.run_jobs(jobs)
    return {
        network: outcome.result["weights"]
        for network, outcome in zip(networks, outcomes, strict=True)
        if outcome.result is not None
    }


def _expect(session: Session, request: Request, timing: Mapping[str, Any] | None, row: Row) -> float:
    """Seconds that a row will take by the speed of its network; a rough guess, made of passes over the images."""
    if timing is None:
        return 0.0
    images, one = len(session.manifest.samples), float(timing["seconds_per_image"])
    if row.level == FROZEN:
        return VIEWS[AUGMENTATION] * images * one
    passes = request.epochs * (1 + BACKWARD) * tail_share(timing, row.level)
    return (len(row.tuning) + len(row.final)) * (START_SECONDS + passes * images * one)


def _run_rows(
    session: Session, request: Request, rows: Sequence[Row], settled: Mapping[Network, str]
) -> Iterator[Course]:
    """Choose the rates of some rows, then fit them to all images but the test's, and score them there once."""
    rates, fitted = sorted(set(request.rates)), session.manifest.rows("train")
    labels = session.manifest.labels()[fitted]
    groups = np.array([session.manifest.samples[row].group for row in fitted])
    part = make_folds(labels, groups, TUNING_PARTS, session.seed_for("tuning"))[0]
    outer, inner = np.delete(fitted, part), fitted[part]
    jobs = [
        _job(session, _config(request, row, rate, settled), row, number, outer, inner, 0)
        for row in rows
        for number, rate in zip(row.tuning, rates, strict=False)
    ]
    tuned = run_fits(session, jobs)
    courses = [_choose(row, rates, [tuned[number] for number in row.tuning]) for row in rows]
    held_out = session.manifest.rows("val")
    last = [
        _job(session, _config(request, course.row, course.rate, settled), course.row, number, fitted, held_out, repeat)
        for course in courses
        if course.reason is None
        for repeat, number in enumerate(course.row.final)
    ]
    ended = run_fits(session, last)
    for course in courses:
        outcomes = [ended[number] for number in course.row.final if number in ended]
        done = tuple(outcome for outcome in outcomes if outcome.result is not None)
        if len(done) < len(outcomes):
            course.reason = next(reason_of(outcome) for outcome in outcomes if outcome.result is None)
        course.outcomes = done if course.reason is None else ()
        yield course


def _config(request: Request, row: Row, rate: float, settled: Mapping[Network, str]) -> dict[str, Any]:
    config = config_of(row.network, row.level, request, rate)
    return {**config, "weights": settled[row.network]} if row.level == FROZEN and row.network in settled else config


def _job(
    session: Session,
    config: dict[str, Any],
    row: Row,
    number: int,
    fitted: np.ndarray,
    held_out: np.ndarray,
    repeat: int,
) -> Job:
    """A fit. Every image is train or val in the session's manifest, so positions among these are its rows."""
    return session.job(
        number,
        "fit",
        config,
        session.seed_for(f"repeat/{repeat}"),
        rows=fitted.tolist(),
        held_out=held_out.tolist(),
        stage=row.level,
    )


def _choose(row: Row, rates: Sequence[float], outcomes: Sequence[Outcome]) -> Course:
    """The rate with the lowest log-loss on the part that was kept back; the lower one of equals."""
    seconds = sum(outcome.seconds for outcome in outcomes)
    losses = [
        (outcome.result["scores"]["log_loss"], rate)
        for outcome, rate in zip(outcomes, rates, strict=False)
        if outcome.result is not None
    ]
    if outcomes and not losses:
        return Course(row, rates[0], seconds, reason=reason_of(outcomes[0]))
    return Course(row, min(losses)[1] if losses else rates[0], seconds)


def _result(
    session: Session, courses: Sequence[Course], timings: Mapping[Network, Mapping[str, Any]]
) -> dict[str, Any]:
    rows, gains = tabulate(courses, session.manifest, timings, session.seed_for("bootstrap"))
    return {
        "run": str(session.run.path),
        **session.request,
        "images": {"train": len(session.manifest.rows("train")), "test": len(session.manifest.rows("val"))},
        "classes": len(session.manifest.classes),
        "rows": rows,
        "gains": gains,
        "conclusion": conclude(rows, gains),
        "seconds": round(session.elapsed(), 1),
    }
