"""Edit the text of params.yaml: change values, keep comments and order."""

import io
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.representer import RoundTripRepresenter


class _Representer(RoundTripRepresenter):
    """Writes null as such, not as an empty value, and small numbers so that YAML 1.1 does not read them as text."""

    def represent_none(self, data: None) -> Any:
        return self.represent_scalar("tag:yaml.org,2002:null", "null")

    def represent_float(self, data: float) -> Any:
        mantissa, exponent, power = repr(data).partition("e")
        text = mantissa if "." in mantissa or not exponent else f"{mantissa}.0"
        return self.represent_scalar("tag:yaml.org,2002:float", f"{text}{exponent}{power}")


_Representer.add_representer(type(None), _Representer.represent_none)
_Representer.add_representer(float, _Representer.represent_float)


def with_values(text: str, section: str, values: Mapping[str, Any]) -> str:
    """The text with changed values in a section; mappings are written in one line."""
    editor = YAML()
    editor.Representer = _Representer
    editor.preserve_quotes = True
    editor.width = 4096
    editor.indent(mapping=2, sequence=4, offset=2)
    content = editor.load(text)
    for key, value in values.items():
        content[section][key] = _in_one_line(value) if isinstance(value, Mapping) else value
    stream = io.StringIO()
    editor.dump(content, stream)
    return stream.getvalue()


def _in_one_line(value: Mapping[str, Any]) -> CommentedMap:
    written = CommentedMap(value)
    written.fa.set_flow_style()
    return written
