"""The deployment files, found and parsed."""

import json
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "infra" / "deploy"


def read_json(name: str) -> Any:
    return json.loads((DEPLOY / name).read_text("utf-8"))


def read_yaml(path: Path) -> list[Any]:
    """Every document of the file; a key that stands twice is an error, where YAML itself would take the last."""
    return list(yaml.load_all(path.read_text("utf-8"), Loader=_Strict))


class _Strict(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping."""


def _mapping(loader: _Strict, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [key.value for key, _ in node.value]
    if len(keys) != len(set(keys)):
        raise yaml.YAMLError(f"line {node.start_mark.line + 1}: a key stands twice among {keys}")
    loader.flatten_mapping(node)
    return dict(loader.construct_mapping(node, deep=True))


_Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
