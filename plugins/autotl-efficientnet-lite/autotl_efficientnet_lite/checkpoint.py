"""Read a legacy (pre-zip) PyTorch checkpoint of plain float tensors, without torch and without trusting it.

Layout of such a file (`torch.serialization._legacy_load`): five pickles (magic number, protocol version, system
information, the state dict, the list of storage keys), then per storage a little-endian int64 element count and the
raw elements. Pickle can call anything it names, so the unpickler here knows four names and refuses every other.
"""

import hashlib
import io
import math
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from autotl.errors import PluginError

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype[Any]
    size: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild_tensor(storage: _Storage, offset: int, shape: Any, strides: Any, *_: Any) -> _Tensor:
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch", "FloatStorage"): np.dtype("<f4"),
    ("torch", "LongStorage"): np.dtype("<i8"),
}


class _RestrictedUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise PluginError(
                f"A weights file may only hold float and integer tensors, this one names {module}.{name}. "
                "Do not use it; install the package it came from again."
            ) from None

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _location, size, *_ = pid
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise PluginError(f"A weights file may only hold tensor storages, this one holds {kind!r}.")
        return _Storage(str(key), dtype, int(size))


def read_checkpoint(path: Path, sha256: str) -> dict[str, np.ndarray]:
    """Return the checkpoint's tensors by name, in the file's own layout (kernels are `[out, in, h, w]`).

    Args:
        path: the `.pth` file.
        sha256: the digest that the file must have; it is checked before a single byte is interpreted.

    Raises:
        PluginError: the file is missing, is not the pinned one, or holds anything but tensors.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PluginError(f"The weights file {path} cannot be read ({error}). Install its package again.") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise PluginError(
            f"The weights file {path.name} must have sha256 {sha256}, it has {digest}. "
            "It is damaged or another release; install the pinned version of its package again."
        )
    try:
        return _parse(io.BytesIO(content))
    except (pickle.UnpicklingError, EOFError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise PluginError(f"{path.name} is not a legacy PyTorch checkpoint of plain tensors ({error}).") from error


def _parse(stream: io.BytesIO) -> dict[str, np.ndarray]:
    magic, protocol, _system, state, keys = (_RestrictedUnpickler(stream).load() for _ in range(5))
    if magic != MAGIC_NUMBER or protocol != PROTOCOL_VERSION:
        raise ValueError("its magic number or protocol version is another one")
    declared: dict[str, _Storage] = {tensor.storage.key: tensor.storage for tensor in state.values()}
    storages = {key: _read_storage(stream, declared[key]) for key in keys}
    return {name: _view(storages[tensor.storage.key], tensor) for name, tensor in state.items()}


def _read_storage(stream: io.BytesIO, declared: _Storage) -> np.ndarray:
    size = int.from_bytes(stream.read(8), "little", signed=True)
    elements = np.frombuffer(stream.read(declared.size * declared.dtype.itemsize), declared.dtype)
    if not size == declared.size == elements.size:
        raise ValueError(f"storage {declared.key} must hold {declared.size} elements, it holds {size}")
    return elements


def _view(storage: np.ndarray, tensor: _Tensor) -> np.ndarray:
    """Lay the tensor out: many are stored with non-contiguous strides (counted in elements)."""
    last = tensor.offset + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True))
    inside = min((tensor.offset, last, *tensor.strides)) >= 0 and last < storage.size
    if not inside or math.prod(tensor.shape) > storage.size:  # the product: a stride of zero repeats without end
        raise PluginError("A tensor of the weights file reaches outside its storage: the file is damaged.")
    strides = tuple(s * storage.itemsize for s in tensor.strides)
    return np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.shape, strides).copy()
