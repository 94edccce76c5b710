import subprocess
import sys

CODE = """
import os, sys
from autotl.cli.noise import muted_libraries
from autotl.errors import UsageError
with muted_libraries({is_muted}):
    os.write(2, b"banner of a library\\n")
    print("skipped x.jpg", file=sys.stderr)
    {more}
"""


def stderr_of(is_muted=True, more="pass"):
    code = CODE.format(is_muted=is_muted, more=more)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr


def test_libraries_are_muted_and_python_is_not():
    assert stderr_of() == "skipped x.jpg\n"


def test_stderr_is_as_before_afterwards():
    assert stderr_of(more="pass\nos.write(2, b'again\\n'); print('and again', file=sys.stderr)").endswith(
        "again\nand again\n"
    )


def test_developers_hear_everything():
    assert "banner" in stderr_of(is_muted=False)


def test_what_libraries_said_is_shown_with_an_error_that_nobody_has_explained():
    assert "banner" in stderr_of(more="raise ValueError('x')")
    assert "banner" not in stderr_of(more="raise UsageError('x')")
