"""YAML as DVC reads it: duplicate keys are an error."""

from typing import Any

import yaml


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
