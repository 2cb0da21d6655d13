"""YAML as DVC reads it: duplicate keys are an error; and no more of it than settings need."""

import math
from typing import Any

import yaml

MOST_VALUES = 10_000


def load_settings(text: str) -> Any:
    """The content of a YAML document.

    Raises:
        ValueError: aliases make it larger than any file of settings.
        yaml.YAMLError: it is no YAML, or has duplicate keys.
    """
    loader = UniqueKeys(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _values(node, {}) > MOST_VALUES:
            raise ValueError(f"it has more than {MOST_VALUES:,} values, by aliases of aliases")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _values(node: yaml.Node, known: dict[int, float]) -> float:
    """Number of values in a node, each alias counted as what it stands for; infinite if it holds itself."""
    if id(node) not in known:
        known[id(node)] = math.inf
        children = node.value if isinstance(node, yaml.CollectionNode) else ()
        parts = [part for child in children for part in (child if isinstance(child, tuple) else (child,))]
        known[id(node)] = 1 + sum(_values(part, known) for part in parts)
    return known[id(node)]


class UniqueKeys(yaml.SafeLoader):
    """Refuses duplicate keys, of which PyYAML silently takes the last, and DVC none."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """As PyYAML's, after a check of the keys."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value} is there twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)
