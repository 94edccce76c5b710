"""The hard cap on the memory of a worker that shares its GPU with others, for the backends that must be told in words.

JAX takes its cap from the environment in which the worker starts (`autotl.execution.devices.worker_environment`).
"""

import os

LIMIT = "AUTOTL_GPU_MEMORY_BYTES"


def hold_memory_cap() -> None:
    """Keep Keras's backend within the share of the GPU that this process was given.

    Belongs at the beginning of every job that may compute on a GPU: TensorFlow takes a limit only before its first
    operation (https://www.tensorflow.org/guide/gpu). Once it holds, a further call changes nothing. Costs nothing, not
    even the import of Keras, where the slot has a whole GPU or none.
    """
    limit = os.environ.get(LIMIT)
    if limit is None:
        return
    import keras

    backend = keras.backend.backend()
    if backend == "tensorflow":
        _cap_tensorflow(int(limit))
    elif backend == "torch":
        _cap_torch(int(limit))


def _cap_tensorflow(limit_bytes: int) -> None:
    import tensorflow

    config = tensorflow.config
    for gpu in config.list_physical_devices("GPU"):
        limit = config.LogicalDeviceConfiguration(memory_limit=limit_bytes // 2**20)  # in MiB
        config.set_logical_device_configuration(gpu, [limit])


def _cap_torch(limit_bytes: int) -> None:
    import torch

    if torch.cuda.is_available():
        whole_bytes = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit_bytes / whole_bytes), 0)
