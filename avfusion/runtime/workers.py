"""Worker processes for functions whose crash, hang or memory must not affect their caller.

A worker is a fresh interpreter with its parent's avfusion and module search path. It does not import the parent's main
module (`multiprocessing` would), so that it can be started from a script without `if __name__ == "__main__":`, a
notebook, standard input, a thread or a daemonic process. Functions, arguments and results must be picklable; functions
of a main module are not.
"""

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

import avfusion
from avfusion.runtime.errors import AVFusionError, describe_exception
from avfusion.runtime.work_limits import TooCostlyError, work_limits_apply

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
GPU_VARIABLE = "CUDA_VISIBLE_DEVICES"

# Arguments: the folder of the package, the parent's sys.path, the pipe. Once the package is imported, its modules are
# found through it, and its folder, which may hold other packages, need not come first.
_START = """
import json, sys
sys.path.insert(0, sys.argv[1])
import avfusion
sys.path[:] = json.loads(sys.argv[2])
from avfusion.runtime.workers import serve
serve(int(sys.argv[3]))
"""
_REPORT, _REPLY = "report", "reply"


class WorkerError(AVFusionError):
    """A function failed unexpectedly, lost its process, or took too long."""


class Reply(NamedTuple):
    """Outcome of a call: its value, or its error (then `value` is None)."""

    value: Any
    error: AVFusionError | None


def attempt(function: Callable[..., Any], *arguments: Any) -> Reply:
    """Call `function` in this process; an exception becomes the reply's error."""
    try:
        return Reply(function(*arguments), None)
    except AVFusionError as error:
        return Reply(None, error)
    except Exception as error:  # one bad file must not stop the others
        return Reply(None, WorkerError(describe_exception(error)))


class Worker:
    """A process that runs functions, one at a time, until it is stopped or its parent ends."""

    def __init__(self, *, threads: int | None = None, gpu: int | None = None) -> None:
        """Start the process; calls wait until it is ready.

        Args:
            threads: number of threads of numeric libraries; default: as in this process.
            gpu: the only GPU that the worker sees, counted among this process's; default: all.

        Raises:
            AVFusionError: the process cannot be started.
        """
        ours, theirs = Pipe()
        package, path = str(Path(avfusion.__file__).parents[1]), [place for place in sys.path if isinstance(place, str)]
        # -P: a `json.py` in the working directory must not replace Python's.
        command = [sys.executable, "-P", "-c", _START, package, json.dumps(path), str(theirs.fileno())]
        variables = dict.fromkeys(THREAD_VARIABLES, str(threads)) if threads else {}
        if gpu is not None:
            seen = os.environ.get(GPU_VARIABLE, "")
            variables[GPU_VARIABLE] = seen.split(",")[gpu] if seen else str(gpu)
        with theirs:  # closed in this process, so that the worker's death closes the pipe
            try:
                self._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], env=os.environ | variables
                )
            except OSError as error:
                raise AVFusionError(f"no worker process can be started ({sys.executable!r}: {error})") from None
        self.gpu = gpu
        self._connection = ours
        self._limit_s: float | None = None
        self._until: float | None = None
        self._end = weakref.finalize(self, _end, self._process, ours)

    @property
    def usable(self) -> bool:
        """Whether the worker is alive and a child of this very process (not of one that this is a fork of)."""
        return self._end.alive and self._process.poll() is None

    @property
    def left_s(self) -> float | None:
        """Seconds left to the current call, at least 0; None: no limit."""
        return None if self._until is None else max(0.0, self._until - time.monotonic())

    def fileno(self) -> int:
        """File descriptor of the pipe; readable when `poll` has something to read."""
        return self._connection.fileno()

    def give(
        self, function: Callable[..., Any], *arguments: Any, limit_s: float | None = None, reporting: bool = False
    ) -> None:
        """Start the call `function(*arguments)`; with `reporting` it gets one more argument, a function for reports."""
        # Relative paths keep their meaning, also after this process changed its working directory.
        folder = None
        with suppress(OSError):  # a folder that was deleted
            folder = os.getcwd()
        task = pickle.dumps((folder, function, arguments, reporting))
        self._limit_s = limit_s
        self._until = None if limit_s is None else time.monotonic() + limit_s
        with suppress(BrokenPipeError, ConnectionResetError):  # the worker died: the reply says so
            self._connection.send_bytes(task)

    def poll(self, report: Callable[..., None] | None = None) -> Reply | None:
        """Pass on the reports received; return the reply, or None while the function runs.

        A call beyond its limit fails, and its worker is stopped.
        """
        while self._connection.poll():
            kind, content = self._receive()
            if kind == _REPLY:
                return content
            if report:
                report(*content)
        if self.left_s == 0:
            self.stop()
            return Reply(None, WorkerError(f"took more than {self._limit_s:g} s, given up"))
        return None

    def call(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        limit_s: float | None = None,
        report: Callable[..., None] | None = None,
    ) -> Any:
        """Call `function(*arguments)` in the worker and wait for its value.

        Args:
            report: Called in this process with the reports of `function`, which then gets one more argument to report
                with.

        Raises:
            WorkerError: the function failed unexpectedly, lost its process, or took too long.
            AVFusionError: the function raised it.
        """
        try:
            self.give(function, *arguments, limit_s=limit_s, reporting=report is not None)
            while (reply := self.poll(report)) is None:
                wait([self.fileno()], self.left_s)
        except BaseException:  # Ctrl-C, or an error in `report`: nobody waits for the reply
            self.stop()
            raise
        if reply.error:
            raise reply.error
        return reply.value

    def stop(self) -> None:
        """Kill the process."""
        self._end()

    def _receive(self) -> tuple[str, Any]:
        try:
            message = self._connection.recv_bytes()
        except (EOFError, OSError):  # OSError: the worker died in the middle of a message
            return _REPLY, Reply(None, self._death())
        try:
            return pickle.loads(message)
        except Exception as error:
            return _REPLY, Reply(None, WorkerError(f"the result cannot be read: {describe_exception(error)}"))

    def _death(self) -> AVFusionError:
        self._process.wait()
        code = self._process.returncode
        if code == -signal.SIGXCPU:
            return TooCostlyError("opening it takes longer than a file of its size may: it is damaged, or made to harm")
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return WorkerError(f"its worker process died ({how}): too little memory, or a crash inside a library")


def _end(process: "subprocess.Popen[bytes]", connection: Connection) -> None:
    connection.close()
    process.kill()  # in a fork the process is not our child: Popen notices and does nothing
    with suppress(subprocess.TimeoutExpired):  # it may hang in the kernel, waiting for a disk or server
        process.wait(5)


def serve(descriptor: int) -> None:
    """The main loop of a worker: answer calls from the pipe until its other end is closed."""
    work_limits_apply()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent ends its workers
    os.set_inheritable(descriptor, False)
    connection = Connection(descriptor)
    tasks: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_receive_tasks, args=(connection, tasks), daemon=True).start()

    def report(*content: Any) -> None:
        connection.send_bytes(pickle.dumps((_REPORT, content)))

    while True:
        answer = _pickled(_run(tasks.get(), report))
        with suppress(BrokenPipeError, ConnectionResetError):  # the parent is gone, which the other thread notices
            connection.send_bytes(answer)


def _receive_tasks(connection: Connection, tasks: "SimpleQueue[bytes]") -> None:
    """Receive in a thread, so that the worker ends at once with its parent, also in the middle of a function."""
    while True:
        try:
            tasks.put(connection.recv_bytes())
        except (EOFError, OSError):
            os._exit(1)


def _run(task: bytes, report: Callable[..., None]) -> Reply:
    try:
        folder, function, arguments, reporting = pickle.loads(task)
        if folder is not None:
            os.chdir(folder)
    except Exception as error:
        return Reply(None, WorkerError(f"the task cannot be read by its worker: {describe_exception(error)}"))
    return attempt(function, *arguments, *([report] if reporting else []))


def _pickled(reply: Reply) -> bytes:
    try:
        return pickle.dumps((_REPLY, reply))
    except Exception as error:
        failure = WorkerError(f"the result cannot be sent: {describe_exception(error)}")
        return pickle.dumps((_REPLY, Reply(None, failure)))
