"""The cap of a worker that shares its GPU, from the environment that its slot makes to what the framework is told.

There is no GPU here, so `keras`, `tensorflow` and `torch` are stubs on the import path that print what they are told:
they are the boundary. That TensorFlow can still be told when a job begins is shown with the real one.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from autotl.execution.devices import SlotPlan, worker_environment

ROOT = Path(__file__).parents[2]
WHOLE = SlotPlan("gpu-0", "gpu:0", 1, "GPU-1", 16 * 2**30)
PART = SlotPlan("gpu-0.1", "gpu:0", 1, "GPU-1", 6 * 2**30, memory_share=6 / 16)
STUBS = {
    "keras": """
import os
class backend:
    backend = staticmethod(lambda: os.environ["KERAS_BACKEND"])
print('"keras"')
""",
    "tensorflow": """
import json
class config:
    list_physical_devices = staticmethod(lambda kind: [f"{kind}:0"])
    LogicalDeviceConfiguration = staticmethod(lambda memory_limit: {"memory_limit": memory_limit})
    set_logical_device_configuration = staticmethod(lambda gpu, limits: print(json.dumps([gpu, limits])))
""",
    "torch": """
import json, os
from types import SimpleNamespace
class cuda:
    is_available = staticmethod(lambda: "NO_CUDA" not in os.environ)
    get_device_properties = staticmethod(lambda device: SimpleNamespace(total_memory=15 * 2**30))
    set_per_process_memory_fraction = staticmethod(lambda fraction, device: print(json.dumps([device, fraction])))
""",
}
JOBS = ("autotl.learn.jobs", "autotl.deliver.finish")
CALL = "from {module} import run_job\ntry:\n    run_job({{}}, None)\nexcept KeyError:\n    print('\"job\"')"
IMPORTS = """
import autotl.learn.warm, autotl.learn.jobs, autotl.deliver.finish, autotl.learn.finetune, autotl.learn.scratch
import tensorflow as tf
[processor] = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
print(len(tf.config.list_logical_devices("CPU")))
"""


def run(code, environment):
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def told(tmp_path):
    """What the frameworks were told by a job that breaks off, as all do here, at its empty payload."""
    for name, source in STUBS.items():
        (tmp_path / f"{name}.py").write_text(source)

    def told(plan, backend, module=JOBS[0], **more):
        path = os.pathsep.join([str(tmp_path), str(ROOT)])
        inherited = {"PATH": os.environ["PATH"], "PYTHONPATH": path, "KERAS_BACKEND": backend, **more}
        return run(CALL.format(module=module), worker_environment(plan, inherited, {}))

    return told


@pytest.mark.parametrize("module", JOBS)
def test_every_job_begins_with_the_cap_of_tensorflow(told, module):
    assert told(PART, "tensorflow", module) == ["keras", ["GPU:0", [{"memory_limit": 6 * 1024}]], "job"]


def test_pytorch_is_told_the_part_of_the_memory_that_it_sees(told):
    assert told(PART, "torch") == ["keras", [0, 6 / 15], "job"]


def test_pytorch_without_cuda_is_told_nothing(told):
    assert told(PART, "torch", NO_CUDA="1") == ["keras", "job"]


def test_jax_has_its_cap_from_the_environment(told):
    assert told(PART, "jax") == ["keras", "job"]


@pytest.mark.parametrize("plan", [WHOLE, SlotPlan("cpu-0", "cpu", 1)])
def test_without_a_share_not_even_keras_is_imported(told, plan):
    assert told(plan, "tensorflow") == ["job"]


@pytest.mark.keras
def test_tensorflow_can_still_be_told_after_all_that_is_imported_before_a_job():
    """The real TensorFlow refuses such a setting once it has been initialised."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    assert run(IMPORTS, environment) == [2]
