"""A real PostgreSQL: a worker is killed in the middle of a job, the database falls over and comes back."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from autotl.execution.executors import Slots
from autotl.execution.protocol import Job
from autotl.execution.shared_executor import open_shared
from autotl.search.dispatch import Dispatcher

pytestmark = [pytest.mark.process, pytest.mark.slow]
JOBS = 5
DEADLINE_SECONDS = 20
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Server:
    """A PostgreSQL on loopback, with a database of its own."""

    folder: Path
    programs: Path
    as_user: tuple[str, ...]
    port: int

    @property
    def url(self):
        return f"postgresql://autotl@127.0.0.1:{self.port}/postgres"

    def run(self, program, *arguments):
        command = [*self.as_user, str(self.programs / program), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self.folder, timeout=60)

    def control(self, *arguments):
        listens = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        log = str(self.folder / "log.txt")
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-o", listens, "-l", log, "-w", *arguments)


@pytest.fixture(scope="module")
def server():
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'autotl[postgres]'")
    found = shutil.which("pg_ctl") or next(map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))), None)
    if found is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="autotl-postgres-", dir="/tmp"))
    as_user = ()
    if os.geteuid() == 0:  # which PostgreSQL refuses to run as
        as_user = ("runuser", "-u", "postgres", "--")
        shutil.chown(folder, "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Server(folder, Path(found).parent, as_user, port)
    try:
        server.run("initdb", "-D", str(folder / "data"), "-U", "autotl", "-A", "trust", "--no-sync")
        server.control("start")
    except (OSError, subprocess.SubprocessError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(f"PostgreSQL does not start here: {error}")
    yield server
    server.control("stop", "-m", "immediate")
    shutil.rmtree(folder)


@pytest.fixture
def start_worker(server):
    """Starts a worker program; all are ended."""
    started = []

    def start(study):
        command = [sys.executable, str(HERE / "shared_program.py"), server.url, study]
        environment = {**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parents[1]}"}
        started.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_a_worker_dies_and_the_database_falls_over_and_every_job_ends_once(server, start_worker, await_slots, tmp_path):
    from shared_program import PACE

    executor = open_shared(Slots(address=server.url, study="faults"), PACE)
    workers = [start_worker("faults") for _ in range(2)]
    started, log, outages = [], [], []

    def on_event(kind, **fields):
        log.append((kind, fields))
        if kind == "started":
            started.append(fields["pid"])
            if len(started) == 2:
                kill_worker_of(started[0])
                server.control("stop", "-m", "immediate")
                (tmp_path / "go").touch()

    def look():
        """The database comes back once the driver has missed it."""
        if executor.contact.is_lost:
            outages.append(executor.contact.since)
            if len(outages) == 1:
                server.control("start")

    def kill_worker_of(pid):
        """The process that holds the slot, not the one that computes: that one has to notice."""
        computes = psutil.Process(pid)
        holder = next(worker for worker in workers if worker.pid == computes.ppid())
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        psutil.wait_procs([computes], timeout=DEADLINE_SECONDS)
        assert not computes.is_running()

    try:
        await_slots(executor, 2)
        jobs = [
            Job(
                f"job-{number}",
                1,
                "targets:until_file",
                {"number": number, "awaits": str(tmp_path / "go"), "path": str(tmp_path / f"{number}.txt")},
            )
            for number in range(JOBS)
        ]
        outcomes = Dispatcher(executor, on_event, look=look).run_all(jobs)
    finally:
        executor.shutdown(0)
    assert outages
    assert [outcome.result for outcome in outcomes] == [{"number": number} for number in range(JOBS)]
    assert [(tmp_path / f"{number}.txt").read_text() for number in range(JOBS)] == ["ran\n"] * JOBS
    ended = [fields["job"] for kind, fields in log if kind == "ended"]
    assert sorted(ended) == [job.id for job in jobs]
    retried = [(fields["job"], fields["failure"]) for kind, fields in log if kind == "retried"]
    assert len(retried) == 1
    assert retried[0][1] == "infra"
    assert [worker.wait(DEADLINE_SECONDS) for worker in workers if worker.returncode is None] == [0]
