"""A command's runs, a parent with children below it, whose ids are kept, so that a later call continues them."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from avfusion.runtime.atomic import write_json
from avfusion.tracking.runs import TrackedRun, tracked_run


class RunBook:
    """Opens runs by title: those in the file `book` again, others new.

    Args:
        params, tags: of every run.
    """

    def __init__(self, root: Path, book: Path, params: Mapping[str, object], tags: Mapping[str, str]) -> None:
        self.root, self.book, self.params, self.tags = root, book, params, tags
        self.ids: dict[str, str] = json.loads(book.read_text(encoding="utf-8")) if book.is_file() else {}

    @contextmanager
    def open(
        self, title: str, parent: TrackedRun | None = None, own: Mapping[str, object] | None = None
    ) -> Iterator[TrackedRun]:
        """The run of this title, shown under `parent`, with parameters of its own."""
        known = self.ids.get(title)
        params = {**self.params, **(own or {})}
        with tracked_run(title, run_id=known, parent=parent, params=params, tags=self.tags, root=self.root) as run:
            if run.run_id != known:
                self.ids[title] = run.run_id
                write_json(self.book, self.ids)
            yield run
