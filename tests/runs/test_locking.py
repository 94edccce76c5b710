import os
import select
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from autotl.errors import UsageError
from autotl.runs.directory import create_run
from autotl.runs.locking import find_holder, is_driven, lock_run

REPOSITORY = Path(__file__).parents[2]
HOLDER = """
import sys
from pathlib import Path
from autotl.runs.directory import open_run
from autotl.runs.locking import lock_run
with lock_run(open_run(Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def run(tmp_path):
    return create_run(tmp_path / "run", {})


@contextmanager
def another_process(run):
    """Another process drives the run for the length of a `with` block, and is killed then."""
    command = [sys.executable, "-c", HOLDER, str(run.path)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as holder:
        assert select.select([holder.stdout], [], [], 20)[0]
        assert holder.stdout.readline() == b"held\n"
        yield holder
        holder.kill()


def test_a_lock_is_held_by_one_and_free_afterwards(run):
    with (
        lock_run(run),
        pytest.raises(UsageError, match=f"driven by process {os.getpid()} .*autotl stop"),
        lock_run(run),
    ):
        pass
    with lock_run(run):
        pass


def test_a_lock_is_free_after_an_error_in_its_block(run):
    with pytest.raises(KeyError), lock_run(run):
        raise KeyError
    with lock_run(run):
        pass


@pytest.mark.process
def test_another_process_s_lock_names_it_and_dies_with_it(run):
    with another_process(run) as holder:
        with pytest.raises(UsageError, match=f"driven by process {holder.pid} "), lock_run(run):
            pass
        found = find_holder(run)
        assert (found.pid, found.host) == (holder.pid, socket.gethostname())
    assert (is_driven(run), find_holder(run)) == (False, None)
    with lock_run(run):
        assert is_driven(run)


def test_nobody_drives_a_new_run_and_looking_leaves_no_trace(run):
    assert (is_driven(run), find_holder(run)) == (False, None)
    assert not run.lock_path.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x", "host": 1}'])
def test_a_holder_that_has_not_said_who_it_is_is_not_named(run, content):
    with lock_run(run):
        run.lock_holder_path.write_text(content)
        assert is_driven(run) and find_holder(run) is None
        with pytest.raises(UsageError, match="driven by another process"), lock_run(run):
            pass
