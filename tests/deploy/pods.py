"""The pods that a Kubernetes object asks for, however deep they lie in it."""

from collections.abc import Iterator
from typing import Any


def pod_templates(value: Any) -> Iterator[dict[str, Any]]:
    """What has a `spec` with `containers`."""
    if isinstance(value, dict):
        if "containers" in (value.get("spec") or {}):
            yield value
        for each in value.values():
            yield from pod_templates(each)
    elif isinstance(value, list):
        for each in value:
            yield from pod_templates(each)
