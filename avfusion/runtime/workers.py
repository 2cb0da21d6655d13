"""Worker processes: they run functions whose crash, hang or memory must not be their caller's.

A worker is a fresh interpreter that imports avfusion from where its parent has it and looks for modules where its
parent does. It does not import the parent's main module (`multiprocessing` would), so that it can be started from a
script without `if __name__ == "__main__":`, a notebook, standard input, a thread or a daemonic process. The functions
that it is given, and what they take and return, must be picklable; a main module's own functions are not.
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

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
GPU_VARIABLE = "CUDA_VISIBLE_DEVICES"

# Arguments: the folder of the package, the parent's sys.path, the pipe. Once the package is imported its modules are
# found by it, and its folder (where it may lie beside other packages) need not come first any more.
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
    """A function failed otherwise than by an error for people: unexpectedly, by its process's death, or by time."""


class Reply(NamedTuple):
    """What became of a call: its value, or its error (then `value` is None)."""

    value: Any
    error: AVFusionError | None


def attempt(function: Callable[..., Any], *arguments: Any) -> Reply:
    """Call `function` here; whatever it raises becomes the reply's error."""
    try:
        return Reply(function(*arguments), None)
    except AVFusionError as error:
        return Reply(None, error)
    except Exception as error:  # one bad file must not cost the others their turn
        return Reply(None, WorkerError(describe_exception(error)))


class Worker:
    """A process that runs functions, one at a time, until it is stopped; it ends with the process that started it."""

    def __init__(self, *, threads: int | None = None, gpu: int | None = None) -> None:
        """Start the process; what it is given meanwhile waits.

        Args:
            threads: how many threads numeric libraries may use in it; default: as many as here.
            gpu: which of the GPUs that this process sees is the only one that it sees; default: all of them.

        Raises:
            AVFusionError: the system starts no process.
        """
        ours, theirs = Pipe()
        package, path = str(Path(avfusion.__file__).parents[1]), [place for place in sys.path if isinstance(place, str)]
        # -P: a `json.py` in the working directory is not Python's.
        command = [sys.executable, "-P", "-c", _START, package, json.dumps(path), str(theirs.fileno())]
        variables = dict.fromkeys(THREAD_VARIABLES, str(threads)) if threads else {}
        if gpu is not None:
            seen = os.environ.get(GPU_VARIABLE, "")
            variables[GPU_VARIABLE] = seen.split(",")[gpu] if seen else str(gpu)
        with theirs:  # closed here, so that the worker's death ends our end of the pipe
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
        """It lives, and is a child of this very process (not of one that this is a fork of)."""
        return self._end.alive and self._process.poll() is None

    @property
    def left_s(self) -> float | None:
        """Seconds until the current call has taken too long, at least 0; None: it has no limit."""
        return None if self._until is None else max(0.0, self._until - time.monotonic())

    def fileno(self) -> int:
        """Of the pipe: readable when `poll` has something to read."""
        return self._connection.fileno()

    def give(
        self, function: Callable[..., Any], *arguments: Any, limit_s: float | None = None, reporting: bool = False
    ) -> None:
        """Let it call `function(*arguments)`; a reporting one gets another function behind them, to send reports."""
        # Relative paths mean in the worker what they mean here, also after this process went elsewhere.
        folder = None
        with suppress(OSError):  # a folder that was deleted
            folder = os.getcwd()
        task = pickle.dumps((folder, function, arguments, reporting))
        self._limit_s = limit_s
        self._until = None if limit_s is None else time.monotonic() + limit_s
        with suppress(BrokenPipeError, ConnectionResetError):  # it died: the reply says so
            self._connection.send_bytes(task)

    def poll(self, report: Callable[..., None] | None = None) -> Reply | None:
        """Hand over the reports that have come; give the reply if it is there, None while the function runs.

        A call that takes longer than its limit has failed, and its worker is stopped.
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
            function: What to call.
            arguments: Its arguments.
            limit_s: Seconds that it may take.
            report: Called here with what `function` reports; then `function` gets one more argument, to report by.

        Raises:
            WorkerError: it failed unexpectedly, its process died, or it took too long.
            AVFusionError: what it raised itself.
        """
        try:
            self.give(function, *arguments, limit_s=limit_s, reporting=report is not None)
            while (reply := self.poll(report)) is None:
                wait([self.fileno()], self.left_s)
        except BaseException:  # Ctrl-C, or an error in `report`: nobody waits for the reply any more
            self.stop()
            raise
        if reply.error:
            raise reply.error
        return reply.value

    def stop(self) -> None:
        """End the process, whatever it does."""
        self._end()

    def _receive(self) -> tuple[str, Any]:
        try:
            message = self._connection.recv_bytes()
        except (EOFError, OSError):  # OSError: it died in the middle of a message
            return _REPLY, Reply(None, WorkerError(self._death()))
        try:
            return pickle.loads(message)
        except Exception as error:
            return _REPLY, Reply(None, WorkerError(f"the result cannot be read: {describe_exception(error)}"))

    def _death(self) -> str:
        self._process.wait()
        code = self._process.returncode
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return f"its worker process died ({how}): too little memory, or a crash inside a library"


def _end(process: "subprocess.Popen[bytes]", connection: Connection) -> None:
    connection.close()
    process.kill()  # no other process's child: in a fork, where this is a copy, Popen finds that and does nothing
    with suppress(subprocess.TimeoutExpired):  # it waits for a disk or a server that does not answer
        process.wait(5)


def serve(descriptor: int) -> None:
    """A worker's life: answer what comes through the pipe until its other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers
    os.set_inheritable(descriptor, False)
    connection = Connection(descriptor)
    tasks: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_receive_tasks, args=(connection, tasks), daemon=True).start()

    def report(*content: Any) -> None:
        connection.send_bytes(pickle.dumps((_REPORT, content)))

    while True:
        answer = _pickled(_run(tasks.get(), report))
        with suppress(BrokenPipeError, ConnectionResetError):  # the parent is gone; the other thread notices
            connection.send_bytes(answer)


def _receive_tasks(connection: Connection, tasks: "SimpleQueue[bytes]") -> None:
    """Beside the work, so that a parent's end ends its worker at once, also in the middle of a function."""
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
