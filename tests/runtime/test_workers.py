"""Worker processes: what they answer, what ends them, and from where they can be started."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import avfusion
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.workers import Worker, WorkerError


def refuse(name: str) -> None:
    raise BadInputError(f"{name} is no video")


def count_to(number: int, report: Callable[..., None]) -> int:
    for done in range(1, number + 1):
        report("counting", done, number)
    return number


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def half_an_answer() -> None:
    """Die in the middle of sending: the message's length is said, the message is not there."""
    for name in os.listdir("/proc/self/fd"):
        if os.path.exists(f"/proc/self/fd/{name}") and "socket" in os.readlink(f"/proc/self/fd/{name}"):
            os.write(int(name), (1000).to_bytes(4) + b"half")
    os._exit(3)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def worker() -> Iterator[Worker]:
    started = Worker()
    yield started
    started.stop()


def test_values_errors_and_reports_come_back(worker: Worker) -> None:
    pid = worker.call(os.getpid)
    assert pid != os.getpid()
    with pytest.raises(BadInputError, match=r"^x is no video$"):
        worker.call(refuse, "x")
    with pytest.raises(WorkerError, match=r"^ValueError: .* \(at workers.py:\d+\)$"):
        worker.call(math.factorial, -1)
    reports: list[tuple[object, ...]] = []
    assert worker.call(count_to, 3, report=lambda *content: reports.append(content)) == 3
    assert reports == [("counting", 1, 3), ("counting", 2, 3), ("counting", 3, 3)]
    with pytest.raises(WorkerError, match="the result cannot be sent: "):
        worker.call(sys._getframe)
    assert worker.call(os.getpid) == pid, "none of this ended it"


@pytest.mark.parametrize(("function", "how"), [(crash, "signal SIGSEGV"), (half_an_answer, "exit code 3")])
def test_a_crash_is_an_error_of_that_call(worker: Worker, function: Callable[[], None], how: str) -> None:
    with pytest.raises(WorkerError, match=rf"its worker process died \({how}\)"):
        worker.call(function)
    assert not worker.usable


def test_a_worker_that_died_unseen_fails_the_call_and_not_its_caller(worker: Worker) -> None:
    pid = worker.call(os.getpid)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not worker.usable)
    with pytest.raises(WorkerError, match="signal SIGKILL"):
        worker.call(os.getpid)


def test_a_hang_is_ended_at_its_limit(worker: Worker) -> None:
    pid = worker.call(os.getpid)
    begun = time.monotonic()
    with pytest.raises(WorkerError, match=r"^took more than 0\.3 s, given up$"):
        worker.call(time.sleep, 60, limit_s=0.3)
    assert 0.3 <= time.monotonic() - begun < 10
    assert not worker.usable
    assert not alive(pid)


def test_an_error_in_the_callers_report_ends_the_call(worker: Worker) -> None:
    pid = worker.call(os.getpid)

    def interrupt(*content: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        worker.call(count_to, 10**9, report=interrupt)
    assert not alive(pid)


def test_relative_paths_mean_the_same_in_both(worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert worker.call(os.getcwd) == os.getcwd()
    monkeypatch.chdir(tmp_path)
    assert worker.call(os.getcwd) == str(tmp_path)


def test_threads_of_numeric_libraries(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    single, same = Worker(threads=1), Worker()
    assert single.call(os.getenv, "OMP_NUM_THREADS") == "1"
    assert same.call(os.getenv, "OMP_NUM_THREADS") == "5"
    assert os.environ["OMP_NUM_THREADS"] == "5"
    single.stop()
    same.stop()


def test_it_ends_with_the_last_reference_and_not_with_a_fork(worker: Worker) -> None:
    pid = worker.call(os.getpid)
    forked = os.fork()
    if forked == 0:
        usable = worker.usable
        worker.stop()  # of a fork's own copies only
        os._exit(int(usable))
    assert os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]) == 0, "usable in the fork"
    assert worker.call(os.getpid) == pid
    other = Worker()
    pid = other.call(os.getpid)
    del other
    assert not alive(pid)


MAIN = """
import json, os, sys
from avfusion.runtime.workers import Worker

print("the main module runs")
def main():
    worker = Worker()
    print(json.dumps([os.getpid(), worker.call(os.getpid), worker.call(pow, 2, 10)]), flush=True)
    keep.append(worker)
keep = []
"""
IN_A_THREAD = "import threading; t = threading.Thread(target=main); t.start(); t.join()"
IN_A_DAEMON = (
    "from multiprocessing import get_context\n"
    "p = get_context('fork').Process(target=main, daemon=True); p.start(); p.join()"
)


@pytest.mark.parametrize(
    ("source", "call"),
    [
        ("script", "main()"),
        ("script", IN_A_THREAD),
        ("script", IN_A_DAEMON),
        ("script", "os.chdir('/'); main()"),
        ("stdin", "main()"),
        ("command", "main()"),
    ],
    ids=["script", "thread", "daemon", "elsewhere", "stdin", "command"],
)
def test_it_starts_from_anywhere_and_is_gone_afterwards(tmp_path: Path, source: str, call: str) -> None:
    (tmp_path / "unguarded.py").write_text(MAIN + call)
    arguments = {"script": [str(tmp_path / "unguarded.py")], "stdin": ["-"], "command": ["-c", MAIN + call]}[source]
    folder = tmp_path / "working"
    folder.mkdir()
    if source == "script":  # a file of the user's with a name of Python's own is none of ours
        (folder / "json.py").write_text("raise SystemExit('the wrong json')")
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, input=MAIN + call, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    first, *others = done.stdout.splitlines()
    assert first == "the main module runs"
    assert len(others) == 1, "the worker ran it again"
    parent, pid, value = json.loads(others[0])
    assert (value, pid == parent) == (1024, False)
    wait_until(lambda: not alive(pid), 5)


def test_the_package_is_the_parents_wherever_that_has_it(tmp_path: Path) -> None:
    """As in a model that MLflow serves: the package lies beside the model, and its folder may have left sys.path."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "avfusion").symlink_to(Path(avfusion.__file__).parent)
    script = (
        f"import sys, inspect; sys.path.insert(0, {str(tmp_path / 'code')!r})\n"
        "import avfusion; sys.path.pop(0)\n"
        "from avfusion.runtime.workers import Worker, WorkerError\n"
        "print(Worker().call(inspect.getfile, WorkerError))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == f"{tmp_path}/code/avfusion/runtime/workers.py"
