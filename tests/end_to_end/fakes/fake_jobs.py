"""Jobs that answer as a worker's own do, and train nothing. A trial's curve is a function of its settings.

Where the folder `AUTOTL_TEST_HOLD` has a FIFO named after the number and the step of a trial, the trial waits there
until somebody opens its other end; it does not report meanwhile, so nothing but a signal can end it.
"""

import json
import os
from pathlib import Path

import numpy as np

EPOCHS = 10


def run_job(payload, report):
    kinds = {"timing": timing, "trial": trial, "soup": soup, "final": final}
    result = kinds[payload["kind"]](payload, report) if "kind" in payload else deliver(payload)
    result |= {"ledger": {"seconds": {"train": 0.5}, "counts": {"epochs": EPOCHS}}, "seconds": 0.5}
    if "kind" in payload:
        folder = Path(payload["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "result.json").write_text(json.dumps(result))
    return result


def timing(payload, report):
    return {"seconds_per_image": 1e-4, "tail_shares": [0.5, 0.1], "multiply_adds": 10}


def trial(payload, report):
    curve = []
    for step in range(1, EPOCHS + 1):
        hold(f"{payload['number']}-{step}")
        curve.append(loss(payload["config"], payload["seed"], step))
        if report(step, curve[-1], {}) and step < EPOCHS:
            break
    return {**scored(payload, curve[-1]), "curve": curve, "stopped": len(curve) < EPOCHS}


def loss(config, seed, step):
    return abs(np.log10(config["head_rate"]) + 3) / 10 + config["weight_decay"] + 0.1 / step + seed % 1000 / 1e5


def hold(name):
    gate = Path(os.environ.get("AUTOTL_TEST_HOLD", "/nowhere"), name)
    if gate.exists():
        gate.with_suffix(".reached").touch()
        gate.open().read()


def scored(payload, value):
    """Every image loses the same."""
    labels = np.arange(30) % 3
    chance = np.exp(-value)
    probabilities = np.full((30, 3), (1 - chance) / 2)
    probabilities[np.arange(30), labels] = chance
    np.savez(Path(payload["folder"]) / "validation.npz", probabilities=probabilities, labels=labels, rows=np.arange(30))
    scores = {"log_loss": value, "accuracy": 0.5, "balanced_accuracy": 0.5}
    return {"score": value, "scores": scores, "temperature": 1.0 + value, "multiply_adds": 10}


def soup(payload, report):
    return {**scored(payload, 1.0), "members": [0]}


def final(payload, report):
    hold("final")
    return {"model": "model.keras", "reference": {}, "parameters": 1, "features": None}


def deliver(payload):
    folder = Path(payload["folder"])
    folder.mkdir()
    test = {"n": 9, "accuracy": 0.5, "accuracy_ci95": [0.2, 0.8], "log_loss": 1.0, "balanced_accuracy": 0.5}
    description = {**payload["description"], "test": test, "parity": {}, "latency": {}}
    (folder / "autotl.json").write_text(json.dumps(description))
    return {}
