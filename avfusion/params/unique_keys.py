"""YAML as DVC reads it: a key that stands there twice is a fault."""

from typing import Any

import yaml


class UniqueKeys(yaml.SafeLoader):
    """Refuses a key that is there twice, of which PyYAML takes the last in silence, and DVC none."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """As PyYAML's, after a look at the keys."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value} is there twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)
