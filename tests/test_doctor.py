"""What the doctor says of GPUs, on a machine whose `nvidia-smi` is a program of ours."""

import pytest

from autotl.doctor import examine


@pytest.fixture
def check(tmp_path, monkeypatch):
    """The doctor's finding on GPUs."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA H200, 143771 MiB'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))  # so there is no nvcc either
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("autotl.doctor.distributions", lambda: [])
    return lambda: next(each for each in examine(tmp_path, [])["checks"] if each["name"] == "gpus")


@pytest.mark.parametrize(
    ("backend", "advice"), [("tensorflow", "tensorflow[and-cuda]"), ("jax", "jax[cuda12]"), ("torch", "pytorch.org")]
)
def test_a_gpu_without_cuda_is_told_with_what_the_backend_needs(check, monkeypatch, backend, advice):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    found = check()
    assert (found["status"], found["detail"]) == ("warning", "NVIDIA H200, 143771 MiB")
    assert advice in found["advice"]


@pytest.mark.parametrize("mask", ["", "-1"])
def test_gpus_that_a_mask_hides_are_told(check, monkeypatch, mask):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", mask)
    found = check()
    assert found["status"] == "warning"
    assert f"CUDA_VISIBLE_DEVICES={mask} chooses" in found["detail"]
    assert "unset it" in found["advice"]
