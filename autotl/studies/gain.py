"""Transfer gain: a pretrained network against the same one from scratch and against random features, label by label."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autotl.backbones.contract import PRETRAINED, RANDOM
from autotl.data.folds import make_folds
from autotl.errors import NoTrialError
from autotl.execution.protocol import Job
from autotl.search.context import OnEvent
from autotl.search.dispatch import Outcome
from autotl.studies.draws import draw, draw_order, possible_tiers
from autotl.studies.fits import in_two_parts, read_probabilities, reason_of, run_fits
from autotl.studies.gain_plan import ARMS, TRAINED, Network, Request, config_of, draws_of, epochs_of, plan
from autotl.studies.gain_scores import measure
from autotl.studies.gain_tables import describe
from autotl.studies.session import Session, Setup, finished_result, open_session, write_result

FIRST = 3  # number of the first fit: timing and settling come before
TUNING_PARTS = 4  # rates are chosen on one part of so many of a tier's images
CURVES_FROM = 250  # images, from which every epoch of the first draw is scored on the test images too
PASSES = 3  # that a step of training costs for an image: one forward, two for the gradients
START_SECONDS = 8.0  # to build and trace a network that is trained


@dataclass(frozen=True)
class Tier:
    """One number of labels.

    Attributes:
        place: among the tiers, from the fewest labels on.
        per_class: that were asked for; None is all images.
        draws: rows of the manifest that each draw fits to.
        epochs: of the arms that train.
        numbers: of the jobs, by arm, one for each draw.
    """

    place: int
    per_class: int | None
    draws: tuple[np.ndarray, ...]
    epochs: int
    numbers: Mapping[str, tuple[int, ...]]

    @property
    def images(self) -> int:
        return len(self.draws[0])


def run_gain(request: Request, setup: Setup, on_event: OnEvent) -> dict[str, Any]:
    """Measure transfer gain; what ended in `setup.out` already is only read.

    Returns:
        See docs/studies.md.

    Raises:
        UsageError: the request cannot be meant, or the network is not to be had.
        DataError: the images cannot be used.
        NoTrialError: an arm came to nothing.
        Interrupted: it was stopped, and can be gone on with.
    """
    asked, network = plan(request)
    if (before := finished_result(asked, setup)) is not None:
        return before
    with open_session(asked, setup, [network.image_size], on_event, in_two_parts) as session:
        result = _measure(session, network)
        write_result(session, result)
    return result


def _measure(session: Session, network: Network) -> dict[str, Any]:
    first = FIRST + len(TRAINED) * len(session.request["rates"])  # after the tuning
    tiers = _tiers(session, first)
    seconds_per_image, random = _open(session, network)
    _foresee(session, tiers, seconds_per_image)
    rates = _tune(session, network, tiers)
    outcomes: dict[int, Outcome] = {}
    for tier in tiers:
        name = "all" if tier.per_class is None else f"{tier.per_class} per class"
        often = f"{len(tier.draws)} draw{'' if len(tier.draws) == 1 else 's'}"
        session.begin("gain", f"{tier.images} images ({name}), {often}, {tier.epochs} epochs where it trains")
        outcomes |= run_fits(session, _jobs(session, network, tier, rates, random))
    _insist(outcomes.values())
    labels = session.manifest.labels()[session.manifest.rows("val")]
    hits = {
        (arm, tier.place): np.stack(
            [read_probabilities(outcomes[number]).argmax(axis=1) == labels for number in tier.numbers[arm]]
        )
        for tier in tiers
        for arm in ARMS
    }
    results = {
        (arm, tier.place): [outcomes[number].result or {} for number in tier.numbers[arm]]
        for tier in tiers
        for arm in ARMS
    }
    return {
        "run": str(session.run.path),
        **session.request,
        "label": network.backbone.label,
        "pretrained_on": network.backbone.weights.dataset,
        "images": {"train": len(session.manifest.rows("train")), "test": len(labels)},
        "classes": len(session.manifest.classes),
        "chosen_rates": rates,
        **describe(
            session.request,
            measure(hits, session.seed_for("bootstrap")),
            measure(hits, session.seed_for("bootstrap"), labels),
            [(tier.place, tier.per_class, tier.images, len(tier.draws), tier.epochs) for tier in tiers],
            results,
            (seconds_per_image, len(session.manifest.classes)),
        ),
        "seconds": round(session.elapsed(), 1),
    }


def _tiers(session: Session, first: int) -> list[Tier]:
    """All tiers with their draws; the numbers of their jobs, from `first` on, are the same under every driver."""
    manifest, number = session.manifest, first
    rows = manifest.rows("train")
    labels = manifest.labels()[rows]
    groups = np.array([manifest.samples[row].group for row in rows])
    orders = [draw_order(labels, groups, session.seed_for(f"draw/{one}")) for one in range(session.request["draws"])]
    asked: list[int | None] = [*possible_tiers(labels, session.request["per_class"]), None]
    tiers = []
    for place, per_class in enumerate(asked):
        drawn = [rows[draw(order, labels, per_class)] for order in orders]
        drawn = drawn[: 1 if per_class is None else draws_of(session.request, len(drawn[0]))]
        numbers = {}
        for arm in ARMS:
            numbers[arm] = tuple(range(number, number + len(drawn)))
            number += len(drawn)
        tiers.append(Tier(place, per_class, tuple(drawn), epochs_of(session.request, len(drawn[0])), numbers))
    return tiers


def _open(session: Session, network: Network) -> tuple[float, str]:
    """Seconds of one image's pass, and the file of random weights whose batch statistics were settled on images.

    As they are built, tens of layers give next to nothing: a head on that would be no rival.
    """
    session.begin("check", "timing the network, settling the batch statistics of its random weights")
    place = {"backbone": network.backbone.name, "image_size": network.image_size}
    timing = session.job(1, "timing", {**place, "weights": PRETRAINED}, session.seed_for("timing"))
    settle = session.job(2, "settle", {**place, "weights": RANDOM}, session.seed_for("random"))
    outcomes = session.run_jobs([timing, settle])
    for outcome in outcomes:
        if outcome.result is None:
            raise NoTrialError(f"The network could not be run: {reason_of(outcome)}")
    timed, settled = (outcome.result or {} for outcome in outcomes)
    return float(timed["seconds_per_image"]), str(settled["weights"])


def _foresee(session: Session, tiers: Sequence[Tier], one: float) -> None:
    """Tell about how long it will take: passes over images at the measured speed."""
    seconds, test = 2 * len(session.manifest.samples) * one, len(session.manifest.rows("val"))
    for tier in tiers:
        fits = len(tier.draws) * len(TRAINED)
        seconds += fits * (START_SECONDS + one * (test + PASSES * tier.epochs * tier.images))
    jobs = sum(len(numbers) for tier in tiers for numbers in tier.numbers.values())
    session.tell("plan", trials=jobs, seconds=seconds / max(1, len(session.dispatcher.executor.slots())))


def _tune(session: Session, network: Network, tiers: Sequence[Tier]) -> dict[str, float]:
    """The rate of each arm that trains: equal numbers of tries, on a part of one tier's images, never the test's."""
    rates, tier = session.request["rates"], tiers[len(tiers) // 2]
    rows = tier.draws[0]
    labels = session.manifest.labels()[rows]
    groups = np.array([session.manifest.samples[row].group for row in rows])
    part = make_folds(labels, groups, TUNING_PARTS, session.seed_for("tuning"))[0]
    session.begin("tune", f"{len(rates)} rates for each arm that trains, on {tier.images} images")
    jobs: list[Job] = []
    of: dict[int, tuple[str, float]] = {}
    for arm in TRAINED:
        for rate in rates:
            number = FIRST + len(jobs)
            of[number] = (arm, rate)
            config = config_of(network, arm, tier.epochs, rate, RANDOM)
            jobs.append(_job(session, number, "tune", config, np.delete(rows, part), rows[part], False))
    outcomes = run_fits(session, jobs)
    _insist(outcomes.values())
    chosen = {}
    for arm in TRAINED:
        losses = [
            ((outcomes[number].result or {})["scores"]["log_loss"], rate)
            for number, (name, rate) in of.items()
            if name == arm
        ]
        chosen[arm] = min(losses)[1]
    return chosen


def _jobs(session: Session, network: Network, tier: Tier, rates: Mapping[str, float], random: str) -> list[Job]:
    held_out = session.manifest.rows("val")
    return [
        _job(
            session,
            number,
            arm,
            config_of(network, arm, tier.epochs, rates.get(arm, 0.0), random),
            rows,
            held_out,
            curve=arm in TRAINED and place == 0 and tier.images >= CURVES_FROM,
        )
        for arm in ARMS
        for place, (number, rows) in enumerate(zip(tier.numbers[arm], tier.draws, strict=True))
    ]


def _job(
    session: Session,
    number: int,
    stage: str,
    config: dict[str, Any],
    rows: np.ndarray,
    held_out: np.ndarray,
    curve: bool,
) -> Job:
    """A fit. Every image is train or val in the session's manifest, so positions among these are its rows."""
    seed, asked = session.seed_for("fit"), {"rows": rows.tolist(), "held_out": held_out.tolist(), "stage": stage}
    return session.job(number, "fit", config, seed, **asked, curve=curve)


def _insist(outcomes: Any) -> None:
    failed = [outcome for outcome in outcomes if outcome.result is None]
    if failed:
        raise NoTrialError(
            f"Gain compares all arms or none, and {failed[0].job.payload['stage']} came to nothing: "
            f"{reason_of(failed[0])}. What has ended is kept: the same command with --out goes on once that is mended."
        )
