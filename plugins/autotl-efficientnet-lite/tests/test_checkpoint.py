import hashlib
import os
import pickle
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from autotl_efficientnet_lite.checkpoint import MAGIC_NUMBER, PROTOCOL_VERSION, read_checkpoint

from autotl.errors import PluginError


class Named:
    """Pickles as a call of `module.name(*arguments)`, or as the bare name, the way torch's own objects do."""

    def __init__(self, module: str, name: str, *arguments: Any):
        self.module, self.name, self.arguments = module, name, arguments


class Storage:
    def __init__(self, key: str, values: np.ndarray, kind: str = "FloatStorage"):
        self.key, self.values, self.kind = key, values, kind


class Writer(pickle._Pickler):  # the Python pickler: the C one insists that global names can be imported
    dispatch = pickle._Pickler.dispatch.copy()

    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, Storage):
            return ("storage", Named("torch", obj.kind), obj.key, "cpu", obj.values.size, None)
        return None

    def save_named(self, obj: Named) -> None:
        self.write(b"c" + f"{obj.module}\n{obj.name}\n".encode())
        if obj.arguments:
            self.save(obj.arguments)
            self.write(pickle.REDUCE)

    dispatch[Named] = save_named


def tensor(storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Named:
    return Named("torch._utils", "_rebuild_tensor_v2", storage, offset, shape, strides, False, OrderedDict())


def write(path: Path, state: Any, storages: list[Storage], magic: int = MAGIC_NUMBER) -> str:
    """Write a legacy checkpoint by hand and return its sha256."""
    with path.open("wb") as file:
        for part in (magic, PROTOCOL_VERSION, {"little_endian": True}, state, [each.key for each in storages]):
            Writer(file, protocol=2).dump(part)
        for storage in storages:
            file.write(struct.pack("<q", storage.values.size) + storage.values.tobytes())
    return hashlib.sha256(path.read_bytes()).hexdigest()


VALUES = np.arange(12, dtype="<f4")


def test_tensors_are_read_with_their_offsets_and_strides(tmp_path: Path) -> None:
    floats, integers = Storage("7", VALUES), Storage("8", np.array([41, 42], "<i8"), "LongStorage")
    state = OrderedDict(
        plain=tensor(floats, 0, (3, 4), (4, 1)),
        transposed=tensor(floats, 0, (4, 3), (1, 4)),
        part=tensor(floats, 5, (2, 2), (4, 1)),
        scalar=tensor(integers, 1, (), ()),
    )
    sha256 = write(tmp_path / "weights.pth", state, [floats, integers])
    tensors = read_checkpoint(tmp_path / "weights.pth", sha256)
    matrix = VALUES.reshape(3, 4)
    assert list(tensors) == ["plain", "transposed", "part", "scalar"]
    np.testing.assert_array_equal(tensors["plain"], matrix)
    np.testing.assert_array_equal(tensors["transposed"], matrix.T)
    np.testing.assert_array_equal(tensors["part"], matrix[1:, 1:3])
    assert tensors["scalar"] == 42
    assert tensors["transposed"].flags.c_contiguous


def test_a_pickle_that_calls_anything_else_is_refused_and_not_called(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    for module, name, argument in (
        (os.system.__module__, "system", f"touch {victim}"),
        ("builtins", "eval", f"open({str(victim)!r}, 'w')"),
        ("numpy", "load", str(victim)),
    ):
        sha256 = write(tmp_path / "weights.pth", Named(module, name, argument), [])
        with pytest.raises(PluginError, match=rf"names {module}\.{name}"):
            read_checkpoint(tmp_path / "weights.pth", sha256)
        assert not victim.exists()


def test_a_malicious_pickle_in_the_first_part_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(PluginError, match=r"names os\.system"):
        read_checkpoint(path, hashlib.sha256(path.read_bytes()).hexdigest())


def test_another_sha256_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(PluginError, match="must have sha256 0000"):
        read_checkpoint(path, "0" * 64)


def test_a_missing_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="cannot be read"):
        read_checkpoint(tmp_path / "weights.pth", "0" * 64)


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(0, (3, 5), (4, 1)), (1, (12,), (1,)), (-1, (2,), (1,)), (4, (2,), (-1,)), (0, (10**9, 12), (0, 1))],
)
def test_a_tensor_that_reaches_outside_its_storage_is_refused(
    tmp_path: Path, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    storage = Storage("0", VALUES)
    sha256 = write(tmp_path / "weights.pth", OrderedDict(bad=tensor(storage, offset, shape, strides)), [storage])
    with pytest.raises(PluginError, match="outside its storage"):
        read_checkpoint(tmp_path / "weights.pth", sha256)


def test_files_that_are_no_checkpoints_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    storage = Storage("0", VALUES)
    state = OrderedDict(good=tensor(storage, 0, (12,), (1,)))
    digests = {"magic number": write(path, state, [storage], magic=1)}
    with pytest.raises(PluginError, match="magic number"):
        read_checkpoint(path, digests["magic number"])
    write(path, state, [storage])
    for content in (path.read_bytes()[:-4], b"", b"not a pickle", pickle.dumps(MAGIC_NUMBER)):
        path.write_bytes(content)
        with pytest.raises(PluginError, match="not a legacy PyTorch checkpoint"):
            read_checkpoint(path, hashlib.sha256(content).hexdigest())
    sha256 = write(path, OrderedDict(number=3), [])
    with pytest.raises(PluginError, match="of plain tensors"):
        read_checkpoint(path, sha256)
