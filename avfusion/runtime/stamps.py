"""The stamp of a kept result: what it was made from, by which code, and what it holds."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

LIBRARIES = ("torch", "av", "opencv-python-headless", "numpy")


@dataclass(frozen=True)
class Stamp:
    """What a result should be, or what a kept one says that it is.

    A kept result is current when `made` and `code` are those that are wanted. What is made from it knows it by its
    `content`, so that other code which gives the same content makes nothing else stale.

    Attributes:
        made: fingerprint of inputs and parameters.
        code: digest of the code (`avfusion.runtime.units`).
        content: digest of what the result holds; "" in a stamp that is only wanted.
        libraries: versions of the libraries that it was made with.
        vouched: by whom, when, from which code and over how large a sample the stamp was renewed without making the
            result anew (`avfusion vouch`).
    """

    made: str
    code: str
    content: str = ""
    libraries: Mapping[str, str] = field(default_factory=dict)
    vouched: tuple[Mapping[str, Any], ...] = ()

    def is_current(self, wanted: "Stamp") -> bool:
        """Whether a result with this stamp is the one that is wanted."""
        return (self.made, self.code) == (wanted.made, wanted.code)

    def completed(self, content: str) -> "Stamp":
        """The stamp of a result that was made as wanted, here and now, and holds this."""
        return replace(self, content=content, libraries=library_versions())

    def renewed(self, wanted: "Stamp", entry: Mapping[str, Any]) -> "Stamp":
        """The stamp of the same result under the code that is wanted, which gives equal results, as `entry` records."""
        return replace(self, code=wanted.code, vouched=(*self.vouched, entry))

    def to_json(self) -> str:
        """One line of JSON; equal stamps give equal bytes."""
        return json.dumps(self.to_dict(), sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Stamp":
        """Read what `to_json` gave.

        Raises:
            ValueError, KeyError, TypeError: the text is no stamp.
        """
        return cls.from_dict(json.loads(text))

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form, without empty lists."""
        more = {"libraries": dict(self.libraries), "vouched": [dict(entry) for entry in self.vouched]}
        stamp = {"made": self.made, "code": self.code, "content": self.content}
        return stamp | {key: value for key, value in more.items() if value}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Stamp":
        """Read what `to_dict` gave.

        Raises:
            KeyError, TypeError: the values are no stamp.
        """
        made, code, content = values["made"], values["code"], values["content"]
        if not all(isinstance(text, str) for text in (made, code, content)):
            raise TypeError("a stamp holds texts")
        return cls(made, code, content, dict(values.get("libraries", {})), tuple(values.get("vouched", ())))


UNSTAMPED = Stamp("", "")  # for files outside the stores, which are compared with no wanted stamp


def content_of(path: Path, read_stamp: Callable[[Path], Stamp | None]) -> str | None:
    """Digest of what a kept result holds; None where there is none."""
    stamp = read_stamp(path) if path.is_file() else None
    return stamp.content if stamp else None


@cache
def library_versions() -> Mapping[str, str]:
    """Versions of the libraries that numbers depend on, as far as they are installed; nothing is imported."""
    found = {}
    for name in LIBRARIES:
        try:
            found[re.sub("-.*", "", name)] = version(name)
        except PackageNotFoundError:
            continue
    return found
