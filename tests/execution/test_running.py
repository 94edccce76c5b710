"""What went wrong, by what was raised."""

import errno

import pytest

from autotl.errors import AutotlError, DataError, PluginError
from autotl.execution.running import kind_of


def raised_from(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RuntimeError("Dst tensor is not initialized."), "oom"),
        (RuntimeError("CUDNN_STATUS_ALLOC_FAILED"), "oom"),
        (RuntimeError("Failed to allocate 123 bytes for new constant"), "oom"),
        (RuntimeError("Unable to find a valid cuDNN algorithm to run convolution"), "oom"),
        (RuntimeError("DNN library initialization failed."), "infra"),
        (RuntimeError("CUDNN_STATUS_NOT_INITIALIZED"), "infra"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk"),
        (ValueError("a plain mistake"), "user"),
        (PluginError("The head cannot be built."), "plugin"),
        (raised_from(PluginError("The head cannot be built."), MemoryError()), "oom"),
        (raised_from(AutotlError("The model cannot be loaded."), OSError(errno.ENOSPC, "full")), "disk"),
        (raised_from(DataError("An image cannot be read."), MemoryError()), "data"),
    ],
)
def test_an_error_is_named_after_what_the_machine_lacked_if_anything(error, kind):
    assert kind_of(error) == kind
