"""Fresh clones to try the project in, and commands run there under a clock."""

import os
import re
import resource
import shutil
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Finished:
    """A command that ended: its exit code, output, and what it cost with all its children."""

    code: int
    output: str
    wall_s: float
    cpu_s: float
    peak_bytes: int

    def cost(self) -> str:
        """Cost in words."""
        return f"{self.cpu_s:.0f} CPU-s, {self.wall_s:.0f} s wall, {self.peak_bytes / 2**30:.1f} GiB"


class Clone:
    """A fresh clone of the project's last commit.

    With `environment`, another clone's .venv is used instead of installing one; the package is then imported from
    this clone by PYTHONPATH.
    """

    def __init__(self, folder: Path, source: Path = ROOT, environment: Path | None = None) -> None:
        self.folder = folder
        if not folder.exists():
            subprocess.run(["git", "clone", "--quiet", str(source), str(folder)], check=True)
        self.variables = {k: v for k, v in os.environ.items() if k not in ("DVC_ROOT", "PYTHONDONTWRITEBYTECODE")}
        self.variables |= {"GIT_AUTHOR_NAME": "accept", "GIT_AUTHOR_EMAIL": "accept@localhost"}
        self.variables |= {"GIT_COMMITTER_NAME": "accept", "GIT_COMMITTER_EMAIL": "accept@localhost"}
        binaries = folder / ".venv/bin"
        if environment is not None:
            if not (folder / ".venv").exists():
                (folder / ".venv").symlink_to(environment, target_is_directory=True)
            self.variables["PYTHONPATH"] = str(folder)
        self.variables["PATH"] = f"{binaries}{os.pathsep}{os.environ['PATH']}"
        exclude = folder / ".git/info/exclude"
        exclude.parent.mkdir(exist_ok=True)
        exclude.write_text(".venv\n")  # the link is no folder, which is what .gitignore names

    def run(self, *command: str, kill_when: str | None = None, **variables: str) -> Finished:
        """Run a command here; with `kill_when`, kill its process group with SIGKILL once its output matches."""
        before = _children_seconds()
        started = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.variables | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        watch = _MemoryWatch(process.pid)
        watch.start()
        lines: list[str] = []
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if kill_when and re.search(kill_when, line):
                os.killpg(process.pid, signal.SIGKILL)
                break
        process.wait()
        watch.stop()
        wall = time.perf_counter() - started
        return Finished(process.returncode, "".join(lines), wall, _children_seconds() - before, watch.peak)

    def must(self, *command: str, **variables: str) -> Finished:
        """Run a command that has to succeed."""
        done = self.run(*command, **variables)
        if done.code:
            raise AssertionError(f"{' '.join(command)} ended with {done.code}: {done.output[-1500:]}")
        return done

    def read(self, path: str) -> bytes:
        """A file's bytes."""
        return (self.folder / path).read_bytes()

    def remove(self, *names: str) -> None:
        """Delete folders."""
        for name in names:
            shutil.rmtree(self.folder / name, ignore_errors=True)


class _MemoryWatch(threading.Thread):
    """Highest sum of resident memory (shared pages count in each process) of a process and its descendants."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.root, self.peak, self._ended = psutil.Process(pid), 0, threading.Event()

    def run(self) -> None:
        """Sample until stopped."""
        while not self._ended.wait(1.0):
            self.peak = max(self.peak, self._sum())

    def _sum(self) -> int:
        total = 0
        try:
            for process in [self.root, *self.root.children(recursive=True)]:
                try:
                    total += process.memory_info().rss
                except psutil.Error:
                    continue
        except psutil.Error:
            pass
        return total

    def stop(self) -> None:
        """Stop sampling."""
        self._ended.set()
        self.join()


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
