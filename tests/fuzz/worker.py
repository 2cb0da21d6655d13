"""The process that reads damaged files, so that a crash inside a library costs one file: `python worker.py FOLDER`.

A line of JSON in, `{"target": …, "file": …}`, a line out: `{"kind": "read" | "refused" | "finding", "what": …}`.
A file that makes the process grow by more than GROWTH is a finding, and so is every file of FOLDER that is opened
beside the one named.
"""

import json
import os
import resource
import sys
import traceback
from pathlib import Path

from avfusion.runtime.errors import AVFusionError
from avfusion.runtime.work_limits import memory_limit, work_limits_apply
from tests.fuzz.opened_files import OpenedFiles
from tests.fuzz.targets import TARGETS

GROWTH = 1e9  # bytes of address space


def attempt(target: str, file: Path) -> tuple[str, str]:
    """Read the file as a target reads it; an error for people that names it is as good as success."""
    try:
        with memory_limit(GROWTH):
            TARGETS[target].read(file)
    except AVFusionError as error:
        message = str(error)
        if file.name not in message:
            return "finding", f"a refusal that does not name the file: {message}"
        if "\n" in message:
            return "finding", f"a refusal of several lines: {message}"
        return "refused", message
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if f"{os.sep}avfusion{os.sep}" in frame.filename] or frames
        return "finding", f"{type(error).__name__} at {os.path.basename(ours[-1].filename)}:{ours[-1].lineno}: {error}"
    return "read", ""


def main() -> None:
    """Answer until the input ends."""
    folder = Path(sys.argv[1])
    work_limits_apply()  # as in the workers of `predict` and `serve`
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with OpenedFiles(folder) as opened:
        for line in sys.stdin:
            request = json.loads(line)
            file = folder / request["file"]
            opened.names()
            kind, what = attempt(request["target"], file)
            if others := opened.names() - {file.name}:
                kind, what = "finding", f"other files were opened: {', '.join(sorted(others))}"
            print(json.dumps({"kind": kind, "what": what}), flush=True)


if __name__ == "__main__":
    main()
