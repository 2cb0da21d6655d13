"""The stamp of a kept result: what it was made from, by which code, and what it holds."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

LIBRARIES = ("torch", "torchaudio", "av", "opencv-python-headless", "numpy")


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

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form, without what is empty."""
        values: dict[str, Any] = {"made": self.made, "code": self.code, "content": self.content}
        values |= {"libraries": dict(self.libraries), "vouched": [dict(entry) for entry in self.vouched]}
        return {key: value for key, value in values.items() if value}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Stamp":
        """Read what `to_dict` gave.

        Raises:
            KeyError, TypeError: it is something else.
        """
        made, code, content = values["made"], values["code"], values.get("content", "")
        if not all(isinstance(text, str) for text in (made, code, content)):
            raise TypeError("a stamp holds texts")
        return cls(made, code, content, dict(values.get("libraries", {})), tuple(values.get("vouched", ())))


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
