"""The long fuzz: damaged files of every kind, for a given time; the exit status is 1 if any got a wrong answer.

    python tests/fuzz/run.py [--seconds 600] [--only TARGET …] [--seed N] [--out FOLDER]
    python tests/fuzz/run.py --again FILE …      files of earlier findings, named <target>-…

A wrong answer is a crash, 10 seconds of computing or 120 of waiting, 1 GB more memory than before, another file opened
than the one given, or an exception that is no error for people. The smallest file of each is kept in the folder.
"""

import argparse
import hashlib
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.fuzz.harness import Reader, explore
from tests.fuzz.targets import TARGETS

EXAMPLES = 250  # files per turn
SHARES = {"media": 6}  # turns of a target in a round; others: 1


def main() -> int:
    """Run, or read earlier findings again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--only", nargs="*", choices=list(TARGETS), default=list(TARGETS))
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "avfusion-fuzz")
    parser.add_argument("--again", nargs="+", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # thousands of files, each overwritten at once
    with tempfile.TemporaryDirectory(dir=memory) as folder, Reader(Path(folder)) as reader:
        if arguments.again:
            return _again(reader, arguments.again)
        return _fuzz(reader, arguments.only, arguments.seconds, arguments.seed, arguments.out)


def _again(reader: Reader, files: list[Path]) -> int:
    wrong = 0
    for file in files:
        answer = reader.read(file.name.split("-")[0], file.read_bytes())
        print(f"{file}: {answer.kind} {answer.what}")
        wrong += answer.wrong
    return int(wrong > 0)


def _fuzz(reader: Reader, targets: list[str], seconds: float, seed: int, out: Path) -> int:
    counts: dict[str, Counter[str]] = {target: Counter() for target in targets}
    spent = dict.fromkeys(targets, 0.0)
    known: dict[str, set[str]] = {target: set() for target in targets}
    started = time.monotonic()
    print(f"seed {seed}, {seconds:g} s, findings to {out}", flush=True)
    while time.monotonic() - started < seconds:
        for target in [name for name in targets for _ in range(SHARES.get(name, 1))]:
            begun = time.monotonic()
            if begun - started >= seconds:
                break
            seed += 1
            turn, findings = explore(reader, target, EXAMPLES, start=seed, known=known[target])
            counts[target] += turn
            spent[target] += time.monotonic() - begun
            for finding in findings:
                known[target].add(finding.answer.signature)
                file = out / f"{target}-{hashlib.sha256(finding.content).hexdigest()[:12]}"
                file.write_bytes(finding.content)
                print(f"{target}: {finding.answer.kind}: {finding.answer.what} -> {file}", flush=True)
    for target, count in counts.items():
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(count.items()))
        rate = count.total() / spent[target] if spent[target] else 0
        print(f"{target}: {count.total()} files in {spent[target]:.0f} s, {rate:.0f}/s: {kinds}")
    print(f"{sum(count.total() for count in counts.values())} files, {sum(map(len, known.values()))} kinds of findings")
    return int(any(known.values()))


if __name__ == "__main__":
    sys.exit(main())
