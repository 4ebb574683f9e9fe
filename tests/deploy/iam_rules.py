"""Whether a policy lets a call through: the part of IAM's language that our policies use, and nothing else.

Deny beats allow, and nothing is allowed that is not. An operator or element that is not known here is an error, so
that no policy can hold a rule that the tests skip.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

_KNOWN = {"Sid", "Effect", "Action", "Resource", "NotResource", "Principal", "Condition"}


@dataclass(frozen=True)
class Call:
    """`resource` is an ARN; `context` has condition keys, and lacks what the request does not have."""

    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict, hash=False)


def allows(policy: Mapping[str, Any], call: Call) -> bool:
    """Raises AssertionError for what these rules cannot judge."""
    effects = {statement["Effect"] for statement in policy["Statement"] if _matches(statement, call)}
    return effects == {"Allow"}


def _matches(statement: Mapping[str, Any], call: Call) -> bool:
    assert set(statement) <= _KNOWN, statement
    within = "Resource" in statement
    named = _any(statement["Resource" if within else "NotResource"], call.resource) == within
    return _any(statement["Action"], call.action) and named and _holds(statement.get("Condition", {}), call.context)


def _any(patterns: str | list[str], value: str) -> bool:
    listed = [patterns] if isinstance(patterns, str) else patterns
    assert not any(set(pattern) & set("[]?") for pattern in listed)
    return any(fnmatchcase(value, pattern) for pattern in listed)


def _holds(conditions: Mapping[str, Any], context: Mapping[str, str]) -> bool:
    return all(
        _tests(operator, context.get(key), wanted)
        for operator, keys in conditions.items()
        for key, wanted in keys.items()
    )


def _tests(operator: str, found: str | None, wanted: str | list[str]) -> bool:
    match operator:
        case "Null":
            return (found is None) == (wanted == "true")
        case "Bool":
            return found == wanted
        case "StringLike":
            return found is not None and _any(wanted, found)
        case "ArnNotEquals":
            return found is None or not _any(wanted, found)
    raise AssertionError(f"unknown condition {operator}")
