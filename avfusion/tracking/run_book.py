"""Runs of a command, a parent with children, whose ids are kept so that later calls continue them."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from avfusion.runtime.atomic import write_json
from avfusion.tracking.runs import TrackedRun, tracked_run


class RunBook:
    """Opens runs by title: reopens those in the file `book`, and creates others.

    Args:
        datasets: name → (digest, path, use) of the data that every run reads.
        label: what tells these runs from others of the same titles; ends the runs' names.
    """

    def __init__(
        self,
        root: Path,
        book: Path,
        params: Mapping[str, object],
        tags: Mapping[str, str],
        *,
        datasets: Mapping[str, tuple[str, Path, str]] | None = None,
        label: str = "",
    ) -> None:
        self.root, self.book, self.params, self.tags = root, book, params, tags
        self.datasets, self.label = datasets or {}, label
        self.ids: dict[str, str] = json.loads(book.read_text(encoding="utf-8")) if book.is_file() else {}

    @contextmanager
    def open(
        self, title: str, parent: TrackedRun | None = None, own: Mapping[str, object] | None = None
    ) -> Iterator[TrackedRun]:
        """The run with this title, shown under `parent`, with additional parameters `own`."""
        known = self.ids.get(title)
        name = f"{title}, {self.label}" if self.label else title
        params = {**self.params, **(own or {})}
        with tracked_run(name, run_id=known, parent=parent, params=params, tags=self.tags, root=self.root) as run:
            if run.run_id != known:
                self.ids[title] = run.run_id
                write_json(self.book, self.ids)
                for data, (digest, path, use) in self.datasets.items():
                    run.log_dataset(data, digest, path, use)
            yield run
