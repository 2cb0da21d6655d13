"""The frame of every DVC stage: parameters, lock, clock, and errors for people."""

import os
import resource
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import yaml

from avfusion.params.params import Params, load_params
from avfusion.runtime.atomic import exclusive_lock, write_json
from avfusion.runtime.code_digest import import_closure
from avfusion.runtime.code_trees import PACKAGE
from avfusion.runtime.errors import AVFusionError, describe_os_error
from avfusion.runtime.printable import escape_unprintable
from avfusion.runtime.project import disable_telemetry, project_root, use_modules_of, workspace_root
from avfusion.runtime.units import NEUTRAL

FAILURES = "failures.json"  # in a stage's private folder


@dataclass(frozen=True)
class Stage:
    """A running stage.

    Attributes:
        name: name in dvc.yaml.
        params: the stage's sections of params.yaml.
        root: the workspace that it reads and writes; also the working directory.
        project: the project whose MLflow store it logs to (another folder only in `dvc exp run --temp`).
        work: the stage's private folder, ignored by git and DVC.
    """

    name: str
    params: Params
    root: Path
    project: Path
    work: Path

    def record_failures(self, failed: Mapping[str, str]) -> None:
        """Record failed tracks or videos and their reasons, without paths, for `doctor`."""
        corpus = [self.root / Path(self.params.corpus.root).expanduser()] if "corpus" in self.params else []
        write_json(self.work / FAILURES, {key: _below(reason, [*corpus, self.root]) for key, reason in failed.items()})

    def warn_of_unwatched(self, modules: Iterable[str]) -> None:
        """Name the files of the project, of these modules or imported by them, that lie below no dep of the stage.

        DVC does not run the stage when such a file is edited. Rooms of the package are deps; installed packages are
        not looked at.
        """
        outside = [module for module in modules if not module.startswith(f"{PACKAGE}.")]
        if not outside:
            return
        graph = yaml.safe_load((self.root / "dvc.yaml").read_text(encoding="utf-8"))
        stages = (graph or {}).get("stages") or {}
        watched = [self.root / dep for dep in stages.get(self.name, {}).get("deps", []) if isinstance(dep, str)]
        found = sorted(import_closure(outside, NEUTRAL).items())
        files = [file.path.resolve() for name, file in found if not name.startswith(f"{PACKAGE}.")]
        own = [path for path in files if path.is_relative_to(self.root) and "site-packages" not in path.parts]
        if unwatched := [path for path in own if not any(path.is_relative_to(dep) for dep in watched)]:
            names = ", ".join(str(path.relative_to(self.root)) for path in unwatched)
            print(
                f"warning: DVC does not notice edits of {names}: move what the models need to own/, or add it to the "
                f"deps of {self.name} in dvc.yaml",
                flush=True,
            )


def _below(reason: str, places: Sequence[Path]) -> str:
    """A reason with paths relative to the given folders."""
    for place in places:
        reason = reason.replace(f"{place}{os.sep}", "")
    return reason


@contextmanager
def stage(name: str, *sections: str, rank: int = 0) -> Iterator[Stage]:
    """Run the body as DVC stage `name` with the named sections of params.yaml.

    Takes the stage's lock (a killed DVC leaves its command running, and two must not write side by side), records
    wall and CPU seconds in `.avfusion/times/<name>.json`, remembers which tracks it failed for, and turns an
    AVFusionError, OSError or Ctrl-C into one line and an exit code. Where several processes run one stage together, the
    first (`rank` 0) does so for all; the others only name themselves in their errors.
    """
    disable_telemetry()
    escape_unprintable()
    who = f"stage {name} (process {rank + 1})" if rank else f"stage {name}"
    started = time.perf_counter()
    try:
        root = workspace_root()
        os.chdir(root)
        use_modules_of(root)
        work = root / ".avfusion" / name
        lock = root / ".avfusion" / "locks" / f"{name}.lock"
        with nullcontext() if rank else exclusive_lock(lock, f"stage {name}"):
            if not rank:
                (work / FAILURES).unlink(missing_ok=True)  # from an earlier run
            running = Stage(name, load_params(root / "params.yaml", sections), root, project_root(), work)
            try:
                yield running
            except AVFusionError as error:
                if error.failures and not rank:
                    running.record_failures(error.failures)
                raise
            seconds = time.perf_counter() - started
            cpu = _cpu_seconds()  # since the process started, imports included
            if not rank:
                write_json(root / ".avfusion" / "times" / f"{name}.json", {"wall_s": seconds, "cpu_s": cpu})
    except AVFusionError as error:
        print(f"error: {who}: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        print(f"{who} was interrupted; `dvc repro` continues from what it finished", file=sys.stderr)
        raise SystemExit(130) from None
    except OSError as error:  # disk full, no permission, no connection
        print(f"error: {who}: {describe_os_error(error)}", file=sys.stderr)
        raise SystemExit(1) from None
    if not rank:
        print(f"{name}: {seconds:.1f} s, {cpu:.1f} CPU-seconds")


def _cpu_seconds() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
