"""The same network computing in float32: converters know no mixed precision, and some of them crash on it."""

from typing import Any

_HALF = {"float16", "bfloat16", "mixed_float16", "mixed_bfloat16"}


def as_float32(model: Any) -> Any:
    """A model that computes what `model` computes, every layer of it in float32.

    Args:
        model: any `keras.Model` that Keras can save in safe mode.

    Returns:
        `model` itself where no layer computes in half precision, else a new model with the same weights.
    """
    import keras

    given = keras.saving.serialize_keras_object(model)
    wanted = _in_float32(given)
    if wanted == given:
        return model
    rebuilt = keras.saving.deserialize_keras_object(wanted, safe_mode=True)
    rebuilt.set_weights(model.get_weights())
    return rebuilt


def _in_float32(config: Any) -> Any:
    """A copy of a Keras configuration; the policy of a layer stands under `dtype`, as a name or as an object."""
    if isinstance(config, dict):
        return {key: _policy(value) if key == "dtype" else _in_float32(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [_in_float32(item) for item in config] if isinstance(config, list) else tuple(map(_in_float32, config))
    return config


def _policy(value: Any) -> Any:
    name = value["config"].get("name") if isinstance(value, dict) and "config" in value else value
    return "float32" if isinstance(name, str) and name in _HALF else value
