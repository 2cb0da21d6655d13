"""Damaged files through a worker process: what each became, and the smallest file of each kind of wrong answer."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.media_seeds import CANARIES, media_seeds
from tests.fuzz.mutations import damaged
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]
DEADLINE_S = 120.0  # for a worker that waits for something
DEADLINE_CPU_S = 10.0  # for one that computes: the machine may be busy
FILES_PER_WORKER = 2000  # what a library leaks must not look like asking for too much at once


@dataclass(frozen=True)
class Answer:
    """`kind` is read, refused, finding, crash or hang; `what` says more."""

    kind: str
    what: str = ""

    @property
    def wrong(self) -> bool:
        """Neither read nor refused by name."""
        return self.kind not in ("read", "refused")

    @property
    def signature(self) -> str:
        """Equal for wrong answers that are likely of one cause: the exception and its line, without its words."""
        return f"finding {self.what.split(': ')[0]}" if self.kind == "finding" else self.kind


@dataclass(frozen=True)
class Finding:
    """A wrong answer, and a file that gets it."""

    answer: Answer
    content: bytes


class Reader:
    """A worker process and the folder that it reads from, where also lies what a playlist would open."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[str] | None = None
        self._left = 0
        folder.mkdir(parents=True, exist_ok=True)
        whole = media_seeds()
        for name in CANARIES:
            (folder / name).write_bytes(whole["mpeg2.ts" if name.endswith(".ts") else "h264.mp4"])

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def process_id(self) -> int:
        """Of the worker."""
        return self._worker().pid

    def read(self, target: str, content: bytes) -> Answer:
        """What becomes of a file with this content."""
        file = self.folder / TARGETS[target].file
        file.write_bytes(content)
        process = self._worker()
        assert process.stdin
        assert process.stdout
        with suppress(BrokenPipeError):  # it died meanwhile, which the missing answer tells
            print(json.dumps({"target": target, "file": file.name}), file=process.stdin, flush=True)
        begun, begun_cpu = time.monotonic(), _cpu_seconds(process.pid)
        while not select.select([process.stdout], [], [], min(1.0, DEADLINE_S))[0]:
            waited, computed = time.monotonic() - begun, _cpu_seconds(process.pid) - begun_cpu
            if waited > DEADLINE_S or computed > DEADLINE_CPU_S:
                self.close()
                return Answer("hang", f"longer than {waited:.0f} s, of it {computed:.0f} s of computing")
        if line := process.stdout.readline():
            return Answer(**json.loads(line))
        status = process.wait()
        self.close()
        if status == -signal.SIGXCPU:  # by `work_limits`; `predict` and `serve` say so, and name the file
            return Answer("refused", "opening it takes longer than a file of its size may")
        return Answer("crash", f"exit status {status}")

    def _worker(self) -> subprocess.Popen[str]:
        if self._process and not self._left:
            self.close()
        if not self._process:
            command = [sys.executable, "-m", "tests.fuzz.worker", str(self.folder)]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT
            )
            self._left = FILES_PER_WORKER
        self._left -= 1
        return self._process

    def close(self) -> None:
        """End the worker."""
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _cpu_seconds(process_id: int) -> float:
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@cache
def _seeds(target: str) -> Sequence[bytes]:
    return TARGETS[target].seeds()


class WrongAnswerError(Exception):
    """Tells hypothesis to look for a smaller file with the same answer."""


def explore(
    reader: Reader, target: str, examples: int, *, start: int | None = None, known: Collection[str] = ()
) -> tuple[Counter[str], list[Finding]]:
    """Read some damaged files of a target; count the answers and give one file, the smallest, per new wrong answer.

    Args:
        examples: How many files; the search for a smaller one reads more.
        start: Seed of the choice; None: always the same one.
        known: Signatures of wrong answers that are found already.
    """
    counts: Counter[str] = Counter()
    found: dict[str, Finding] = {}
    shrinking = ""

    def read(content: bytes) -> None:
        nonlocal shrinking
        answer = reader.read(target, content)
        counts[answer.kind] += 1
        if not answer.wrong or answer.signature in known:
            return
        best = found.get(answer.signature)
        if best is None or len(content) <= len(best.content):
            found[answer.signature] = Finding(answer, content)
        if answer.kind == "finding":  # after a crash or hang, a smaller file would cost too much
            shrinking = shrinking or answer.signature
            if answer.signature == shrinking:
                raise WrongAnswerError(answer.what)

    run = given(damaged(_seeds(target), TARGETS[target].tokens))(read)
    run = settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=start is None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )(run)
    if start is not None:
        run = seed(start)(run)
    with suppress(WrongAnswerError):
        run()
    return counts, list(found.values())
