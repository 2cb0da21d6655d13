"""A study on a PostgreSQL server of its own, run by an unprivileged user: many workers, a restart, a wrong password."""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from avfusion.experiments.settings import SweepSettings
from avfusion.experiments.sweep.space import SearchSpace
from avfusion.experiments.sweep.storage import open_storage
from avfusion.experiments.sweep.study import Standing, open_study, retried, standing
from avfusion.experiments.sweep.worker import work
from avfusion.runtime.errors import AVFusionError
from avfusion.training.settings import TrainSettings

pytestmark = pytest.mark.postgres
SOURCE = Path(__file__).parents[3]
PASSWORD = "not-for-logs"


def binary(name: str) -> str | None:
    """A program of PostgreSQL: on the path, or where Debian puts it."""
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(places[-1]) if places else None)


@dataclass
class Server:
    folder: Path
    port: int
    user: str | None  # initdb and postgres refuse root

    @property
    def url(self) -> str:
        return f"postgresql://avfusion:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def run(self, program: str, *arguments: str) -> None:
        command = [binary(program) or program, "-D", str(self.folder / "data"), *arguments]
        done = subprocess.run(
            command, user=self.user, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self.run("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        self.run("pg_ctl", "-w", "-m", "immediate", "stop")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    pytest.importorskip("psycopg2")
    if not (binary("initdb") and binary("pg_ctl")):
        pytest.skip("PostgreSQL's initdb and pg_ctl are not installed")
    user = None
    if os.geteuid() == 0:
        names = {entry.pw_name for entry in pwd.getpwall()}
        user = next((name for name in ("postgres", "nobody") if name in names), None)
        if user is None:
            pytest.skip("no unprivileged user to run PostgreSQL as")
    folder = Path(tempfile.mkdtemp(prefix="avfusion-pg-"))  # pytest's own folders are closed to other users
    password = folder / "password"
    password.write_text(PASSWORD)
    if user:
        for path in (folder, password):
            shutil.chown(path, user)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        made = Server(folder, free.getsockname()[1], user)
    try:
        made.run("initdb", "-U", "avfusion", "-A", "scram-sha-256", "--pwfile", str(password), "-N")
        made.start()
        yield made
    finally:
        if (folder / "data" / "postmaster.pid").is_file():
            made.stop()
        shutil.rmtree(folder)


def study_of(server: Server, name: str, stop: threading.Event | None = None) -> optuna.Study:
    storage = open_storage(server.url, 1, stop)
    return open_study(storage, SweepSettings(study=name, pruner="none"), SearchSpace.of({}, TrainSettings()))


def score(trial: optuna.Trial) -> float:
    return -abs(trial.suggest_float("lr", 1e-5, 1e-2, log=True) - 1e-3)


def test_a_wrong_password_is_one_line_that_holds_no_password(server: Server) -> None:
    with pytest.raises(AVFusionError, match=r"postgresql://avfusion:\*\*\*@.*password authentication failed") as caught:
        open_storage(server.url.replace(PASSWORD, "wrong-one"), 1)
    assert "wrong-one" not in str(caught.value)


WORKER = """
import sys, threading
sys.path.insert(0, sys.argv[3])
from avfusion.experiments.settings import SweepSettings
from avfusion.training.settings import TrainSettings
from avfusion.experiments.sweep.space import SearchSpace
from avfusion.experiments.sweep.storage import open_storage
from avfusion.experiments.sweep.study import open_study
from avfusion.experiments.sweep.worker import work
settings = SweepSettings(study="many", pruner="none")
study = open_study(open_storage(sys.argv[1], 1), settings, SearchSpace.of({}, TrainSettings()))
work(study, lambda trial: trial.suggest_float("lr", 0, 1), int(sys.argv[2]), threading.Event())
"""


def test_workers_of_many_processes_share_the_trials(server: Server) -> None:
    study = study_of(server, "many")
    command = [sys.executable, "-c", WORKER, server.url, "12", str(SOURCE)]
    workers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for worker in workers:
        errors = worker.communicate()[1]
        assert worker.returncode == 0, errors
    trials = study.trials
    assert 12 <= len(trials) <= 13, "the other may have begun one when the last was counted"
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    assert [trial.number for trial in trials] == list(range(len(trials)))
    assert len({trial.params["lr"] for trial in trials}) == len(trials), "no two workers draw the same"


def test_a_study_outlives_a_restart_of_the_server(server: Server) -> None:
    study = study_of(server, "restarted", threading.Event())
    restarted = threading.Event()

    def objective(trial: optuna.Trial) -> float:
        value = score(trial)
        if trial.number == 1 and not restarted.is_set():
            restarted.set()
            server.stop()
            later = threading.Timer(2, server.start)  # while the trial asks for it
            later.start()
            trial.report(value, 1)
            later.join()
        return value

    work(study, objective, 4, threading.Event())
    assert restarted.is_set()
    assert standing(study.trials) == Standing(4, 0)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 4
    assert study.trials[1].intermediate_values == {1: study.trials[1].value}


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("request_", ["report", "tell"])
def test_a_request_that_a_restart_breaks_off_is_made_again(request_: str, server: Server) -> None:
    """It waits for a lock on its trial when the server goes down: no check of the connection foresees that."""
    import psycopg2

    stop = threading.Event()
    study = study_of(server, f"broken off in {request_}", stop)

    def objective(trial: optuna.Trial) -> float:
        if trial.number != 1:
            return 0.0
        lock = psycopg2.connect(server.url)
        if request_ == "tell":
            lock.cursor().execute("SELECT * FROM trials FOR UPDATE")
        else:
            lock.cursor().execute("LOCK TABLE trial_intermediate_values")

        def restart() -> None:
            server.stop()
            server.start()

        restarts.append(threading.Timer(2, restart))
        restarts[0].start()
        if request_ == "report":
            trial.report(0.5, 1)
        return 0.5

    restarts: list[threading.Timer] = []
    work(study, objective, 3, stop)
    restarts[0].join()
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 3
    assert study.trials[1].intermediate_values == ({1: 0.5} if request_ == "report" else {})


def test_a_worker_that_is_to_stop_waits_for_no_server(server: Server) -> None:
    stop = threading.Event()
    study = study_of(server, "stopped", stop)

    def objective(trial: optuna.Trial) -> float:
        server.stop()
        threading.Timer(1, stop.set).start()
        trial.report(0.5, 1)
        return 0.5

    try:
        work(study, objective, 3, stop)  # else ten minutes
    finally:
        server.start()
    assert standing(study.trials) == Standing(0, 1)
    stop.clear()
    work(study, score, 2, stop)
    assert standing(study.trials) == Standing(2, 0)
    assert retried(study.trials) == {0}


def test_machines_that_begin_at_once_make_one_study(server: Server) -> None:
    """On a database without any tables."""
    import psycopg2

    connection = psycopg2.connect(server.url)
    connection.autocommit = True
    connection.cursor().execute("CREATE DATABASE empty")
    connection.close()
    url = server.url.removesuffix("/postgres") + "/empty"
    command = [sys.executable, "-c", WORKER, url, "4", str(SOURCE)]
    workers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    for worker in workers:
        errors = worker.communicate()[1]
        assert worker.returncode == 0, errors
    names = optuna.get_all_study_names(url.replace("postgresql", "postgresql+psycopg2"))
    assert names == ["many"]
