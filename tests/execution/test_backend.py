"""The backend that Keras would take, from the environment and its file."""

import pytest

from autotl.execution.backend import configured_backend


@pytest.mark.parametrize(
    ("content", "backend"),
    [
        ('{"backend": "jax"}', "jax"),
        ("{}", "tensorflow"),
        ("[]", "tensorflow"),
        ("{", "tensorflow"),
        (None, "tensorflow"),
    ],
)
def test_the_file_of_keras_decides_where_the_environment_does_not(tmp_path, content, backend):
    if content is not None:
        (tmp_path / "keras.json").write_text(content)
    assert configured_backend({"KERAS_HOME": str(tmp_path)}) == backend
    assert configured_backend({"KERAS_HOME": str(tmp_path), "KERAS_BACKEND": "torch"}) == "torch"
