"""Reports that carry their stamp in one of their files: kept while what decides them and their bytes stay."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from avfusion.runtime.atomic import write_json
from avfusion.runtime.fingerprints import file_digest, fingerprint
from avfusion.runtime.stamps import Stamp


@dataclass(frozen=True)
class StampedReport:
    """A folder of files and folders of files, `outs`; the JSON file `facts` beside them holds their stamp."""

    folder: Path
    facts: str
    outs: Iterable[str]

    @property
    def path(self) -> Path:
        """The file with the stamp."""
        return self.folder / self.facts

    def is_current(self, wanted: Stamp) -> bool:
        """Whether the folder holds what is wanted, every file as it was written; an unreadable stamp is told."""
        if not self.path.is_file():
            return False
        try:
            stamp = Stamp.from_dict(json.loads(self.path.read_text(encoding="utf-8"))["stamp"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            print(f"warning: {self.path} has no stamp that can be read ({type(error).__name__}): made anew", flush=True)
            return False
        return stamp.is_current(wanted) and stamp.content == self._content()

    def begin(self) -> None:
        """Before the files are replaced: none belongs to a stamp meanwhile."""
        self.path.unlink(missing_ok=True)

    def finish(self, wanted: Stamp) -> None:
        """Put the stamp into the file that was written among the others."""
        facts = json.loads(self.path.read_text(encoding="utf-8"))
        write_json(self.path, facts | {"stamp": wanted.completed(self._content()).to_dict()})

    def _content(self) -> str:
        """Digest of the files' names and bytes."""
        found: dict[str, str] = {}
        for name in self.outs:
            out = self.folder / name
            found |= {f"{name} {path.name}": file_digest(path) for path in (out, *out.glob("*")) if path.is_file()}
        return fingerprint(files=found)
