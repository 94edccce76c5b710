"""The KerasTuner side of `vs_keras_tuner.py`, in a process of its own: `python keras_tuner_side.py JOB.json`.

Written as a careful user of KerasTuner would write it, with whatever helps it and is no part of KerasTuner's own work:

- images are decoded once, by all cores, into one uint8 array that stays in memory; the split is given;
- the space is read from the file that autotl reads, conditions included;
- the head's and the tail's rate, warm-up with cosine decay, clipping, the mirror images and batch normalisation in
  inference mode are as in autotl;
- frozen layers are frozen in Keras, so no gradient is computed for them;
- both ways to the final model are taken and timed apart: `get_best_models` (the best epoch of the best trial, free),
  and the best hyperparameters fitted again to training and validation images, as KerasTuner's documentation advises.

KerasTuner imports `tensorboard` in every trial, even where no callback uses it, and TensorFlow installs it no longer
since 2.21: where it is missing, an empty module takes its place in this process.
"""

import importlib.util
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter, process_time
from types import ModuleType
from typing import Any

import numpy as np

from autotl.backbones.cuts import choose_cut, stage_cuts
from autotl.backbones.registry import load_backbone
from autotl.data.images import read_images
from autotl.data.manifest import Manifest
from autotl.data.source import open_source
from autotl.space.files import read_space
from autotl.space.parameters import Choice, Integer, LogRange, Range
from autotl.space.schema import Stage
from autotl.space.suggest import parents_first

WARM_UP = 0.1


@dataclass(frozen=True)
class Clock:
    """Wall and processor seconds of each step."""

    seconds: dict[str, float] = field(default_factory=dict)
    processor_seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time what happens inside."""
        wall, processor = perf_counter(), process_time()
        yield
        self.seconds[name] = round(perf_counter() - wall, 3)
        self.processor_seconds[name] = round(process_time() - processor, 3)


def main() -> None:
    """Search, take the final model both ways, predict the test images with each, and write what it took."""
    job = json.loads(Path(sys.argv[1]).read_text())
    folder, clock = Path(job["folder"]), Clock()
    with clock.step("import"):
        _stand_in_for_tensorboard()
        import keras
        import keras_tuner

        keras.utils.set_random_seed(job["seed"])
    stage, manifest = read_space(job["space"]).stages[0], Manifest.read(Path(job["manifest"]))
    with clock.step("decode"):
        images = _decode(manifest, job["image_size"])
    labels = manifest.labels()
    train, validation, test = (manifest.rows(split) for split in ("train", "val", "test"))
    hypermodel = _make_hypermodel(stage, job, len(manifest.classes), len(train))
    with clock.step("search"):
        tuner = keras_tuner.BayesianOptimization(
            hypermodel,
            objective="val_loss",
            max_trials=job["trials"],
            seed=job["seed"],
            directory=folder,
            project_name="search",
            overwrite=True,
        )
        pairs = [(images[rows], labels[rows]) for rows in (train, validation)]
        tuner.search(*pairs[0], validation_data=pairs[1], epochs=job["epochs"], verbose=0)
    with clock.step("best"):
        _predict(tuner.get_best_models()[0], images[test], folder / "best.npz", labels[test])
    best = tuner.get_best_hyperparameters()[0]
    with clock.step("refit"):
        everything = np.concatenate([train, validation])
        hypermodel.rows = len(everything)
        keras.backend.clear_session()
        model = hypermodel.build(best)
        hypermodel.fit(best, model, images[everything], labels[everything], epochs=job["epochs"], verbose=0)
        _predict(model, images[test], folder / "refit.npz", labels[test])
    trials = [_trial(trial) for trial in tuner.oracle.trials.values()]
    record = {**asdict(clock), "best": best.values, "trials": trials}
    (folder / "side.json").write_text(json.dumps(record))


def declare(hyperparameters: Any, stage: Stage) -> dict[str, Any]:
    """The parameters of a stage as KerasTuner's hyperparameters, with their conditions; inactive ones are None."""
    values = {}
    for name in parents_first(stage.parameters):
        parameter = stage.parameters[name]
        with ExitStack() as scopes:
            for parent, wanted in parameter.when.items():
                scopes.enter_context(hyperparameters.conditional_scope(parent, list(wanted)))
            values[name] = _declare_one(hyperparameters, name, parameter)
    return values


def _declare_one(hyperparameters: Any, name: str, parameter: Any) -> Any:
    match parameter:
        case Choice() if len(parameter.choice) == 1:
            return hyperparameters.Fixed(name, parameter.choice[0])
        case Choice():
            return hyperparameters.Choice(name, list(parameter.choice))
        case Integer():
            return hyperparameters.Int(name, *parameter.integer, sampling="log" if parameter.log else "linear")
        case Range():
            return hyperparameters.Float(name, *parameter.range)
        case LogRange():
            return hyperparameters.Float(name, *parameter.log, sampling="log")


def _make_hypermodel(stage: Stage, job: dict[str, Any], classes: int, rows: int) -> Any:
    import keras
    import keras_tuner

    class Transfer(keras_tuner.HyperModel):
        """Backbone, frozen up to a cut; global average pooling; head."""

        def __init__(self) -> None:
            super().__init__()
            self.rows = rows  # how many images are trained on: the schedule ends with them

        def build(self, hp: Any) -> Any:
            values = declare(hp, stage)
            layers = keras.layers
            backbone = load_backbone(job["backbone"]).build(job["image_size"], "pretrained")
            freeze(backbone, values["freeze_depth"])
            images = keras.Input((job["image_size"], job["image_size"], 3), dtype="uint8")
            seen = layers.RandomFlip("horizontal", seed=job["seed"])(layers.Rescaling(1.0)(images))
            x = layers.GlobalAveragePooling2D()(backbone(seen, training=False))
            head = []
            if values["head"] == "mlp":
                head += [layers.Dense(values["width"], activation="relu"), layers.Dropout(values["dropout"])]
            head.append(layers.Dense(classes))
            for layer in head:
                x = layer(x)
            model = keras.Model(images, x)
            own = [variable for layer in head for variable in layer.trainable_variables]
            steps = -(-self.rows // values["batch_size"]) * job["epochs"]
            model.compile(
                optimizer=_make_optimizer(model.trainable_variables, own, values, steps),
                loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                metrics=["accuracy"],
            )
            return model

        def fit(self, hp: Any, model: Any, *arguments: Any, **options: Any) -> Any:
            return model.fit(*arguments, batch_size=hp.get("batch_size"), **options)

    return Transfer()


def freeze(backbone: Any, freeze_depth: float) -> None:
    """Freeze the layers up to the cut where autotl freezes, and all batch normalisation."""
    import keras

    cut = choose_cut(stage_cuts(backbone), freeze_depth)
    names = [layer.name for layer in backbone.layers]
    frozen = 0 if cut is None else names.index(cut.name) + 1
    for position, layer in enumerate(backbone.layers):
        if position < frozen or isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False


def _make_optimizer(trainable: list[Any], head: list[Any], values: dict[str, Any], steps: int) -> Any:
    """AdamW with the head's rate for the head and the tail's for the rest, which Keras has no setting for."""
    import keras

    mine = {id(variable) for variable in head}
    in_head = [id(variable) in mine for variable in trainable]
    share = 1.0 if values["tail_rate"] is None else values["tail_rate"] / values["head_rate"]

    class TwoRates(keras.optimizers.AdamW):  # type: ignore[misc]
        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            factor = 1.0 if in_head[self._get_variable_index(variable)] else share
            super().update_step(gradient, variable, learning_rate * factor)

    warm_up = max(1, round(WARM_UP * steps))
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warm_up), warmup_target=values["head_rate"], warmup_steps=warm_up
    )
    return TwoRates(learning_rate=schedule, weight_decay=values["weight_decay"], clipnorm=1.0)


def _decode(manifest: Manifest, image_size: int) -> np.ndarray:
    with open_source(Path(manifest.root)) as source:
        names = [sample.path for sample in manifest.samples]
        return np.concatenate([squares for _, squares in read_images(source, image_size, names=names)])


def _predict(model: Any, images: np.ndarray, path: Path, labels: np.ndarray) -> None:
    np.savez(path, logits=model.predict(images, batch_size=64, verbose=0), labels=labels)


def _trial(trial: Any) -> dict[str, Any]:
    return {"values": trial.hyperparameters.values, "score": trial.score, "status": trial.status}


def _stand_in_for_tensorboard() -> None:
    if importlib.util.find_spec("tensorboard") is not None:
        return
    parent: ModuleType | None = None
    for name in (
        "tensorboard",
        "tensorboard.plugins",
        "tensorboard.plugins.hparams",
        "tensorboard.plugins.hparams.api",
    ):
        module = sys.modules[name] = ModuleType(name)
        if parent is not None:
            setattr(parent, name.rpartition(".")[2], module)
        parent = module


if __name__ == "__main__":
    main()
