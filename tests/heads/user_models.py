"""What somebody who uses KerasTuner has lying about: none of it knows anything of autotl."""

import keras
import keras_tuner

layers = keras.layers


class Stack(keras_tuner.HyperModel):
    """A head on given features: as many layers as asked for, each with its own width; one kind has one option more."""

    def build(self, hp, inputs):
        x = inputs
        for index in range(hp.Int("layers", 1, 3)):
            x = layers.Dense(hp.Int(f"units_{index}", 8, 32, step=8, default=16), activation="relu")(x)
        kind = hp.Choice("kind", ["plain", "dropped"])
        with hp.conditional_scope("kind", ["dropped"]):
            rate = hp.Float("rate", 0.1, 0.5, sampling="log")
        return layers.Dropout(rate)(x) if kind == "dropped" else x


class Classic(keras_tuner.HyperModel):
    """Features to probabilities, compiled: the constructor knows the problem."""

    def __init__(self, input_shape, classes):
        super().__init__()
        self.input_shape, self.classes = input_shape, classes

    def build(self, hp):
        inputs = keras.Input(self.input_shape)
        x = layers.Dense(hp.Choice("units", [4, 8]), activation=hp.Choice("activation", ["relu", "tanh"]))(inputs)
        model = keras.Model(inputs, layers.Dense(self.classes, activation="softmax")(x))
        model.compile("adam", "categorical_crossentropy")
        return model


def sequential(hp, features, classes):
    """A function, an unbuilt model, a softmax of its own."""
    return keras.Sequential(
        [layers.Dense(hp.Int("units", 4, 8)), layers.Dense(classes), layers.Activation("softmax", dtype="float32")]
    )


class Convolutions(keras_tuner.HyperModel):
    """A small whole model with every kind of hyperparameter, and batch size and epochs chosen in `fit`."""

    def __init__(self, input_shape, classes):
        super().__init__()
        self.input_shape, self.classes = input_shape, classes

    def build(self, hp):
        inputs = keras.Input(self.input_shape)
        x = inputs
        for index in range(hp.Int("blocks", 1, 2)):
            filters = hp.Int(f"filters_{index}", 8, 32, step=2, sampling="log")
            x = layers.Conv2D(filters, 3, strides=2, activation="relu")(x)
        if hp.Boolean("normalised"):
            x = layers.BatchNormalization()(x)
        pooled = layers.GlobalAveragePooling2D()(x)
        head = hp.Choice("head", ["linear", "hidden"])
        with hp.conditional_scope("head", ["hidden"]):
            if head == "hidden":
                pooled = layers.Dense(hp.Int("units", 8, 16), activation="relu")(pooled)
        outputs = layers.Dense(self.classes, activation="softmax")(pooled)
        model = keras.Model(inputs, outputs)
        rate = hp.Float("rate", 1e-3, 3e-2, sampling="log", default=1e-2)
        model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model


class Fitted(Convolutions):
    """With its own way to be trained."""

    def fit(self, hp, model, x, y, **keywords):
        size = hp.Choice("batch_size", [8, 16], default=16)
        callbacks = [keras.callbacks.EarlyStopping(patience=3), *keywords.pop("callbacks")]
        return model.fit(x, y, batch_size=size, epochs=hp.Int("epochs", 2, 3), callbacks=callbacks, **keywords)


class Logits(Convolutions):
    """Gives logits, has its pixels scaled by itself, and takes one-hot targets."""

    def build(self, hp):
        inputs = keras.Input(self.input_shape)
        x = layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
        x = layers.GlobalAveragePooling2D()(layers.Conv2D(hp.Int("filters", 8, 16), 3, strides=2)(x))
        model = keras.Model(inputs, layers.Dense(self.classes)(x))
        model.compile(keras.optimizers.Adam(1e-2), keras.losses.CategoricalCrossentropy(from_logits=True))
        return model


class Uncompiled(Convolutions):
    """Leaves out how it is to be trained."""

    def build(self, hp):
        return keras.Sequential([layers.Conv2D(4, 3), layers.GlobalMaxPooling2D(), layers.Dense(self.classes)])


class WithLambda(Convolutions):
    """Cannot be loaded in safe mode."""

    def build(self, hp):
        inputs = keras.Input(self.input_shape)
        doubled = layers.Lambda(lambda images: images * 2)(inputs)
        return keras.Model(inputs, layers.Dense(self.classes)(layers.GlobalMaxPooling2D()(doubled)))


class Diverging(Convolutions):
    """Its loss is not finite."""

    def build(self, hp):
        model = super().build(hp)
        model.compile(keras.optimizers.SGD(1e38), "sparse_categorical_crossentropy")
        return model


class Endless(Convolutions):
    """Asks for something new each time it is built."""

    count = 0

    def build(self, hp):
        Endless.count += 1
        hp.Boolean(f"more_{Endless.count}")
        return super().build(hp)


class Demanding(keras_tuner.HyperModel):
    """Wants what autotl does not know."""

    def __init__(self, vocabulary):
        super().__init__()
        self.vocabulary = vocabulary


class Broken(Convolutions):
    """Fails."""

    def build(self, hp):
        raise ArithmeticError("seven is too many")


NUMBER = 7
