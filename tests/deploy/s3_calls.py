"""Which permission a request to S3 needs, and a server that grants what a role's policy grants.

https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs, unquote

from tests.deploy.iam_rules import Call, allows

OWNER = "test"  # the access key that may do everything: it prepares what a role then finds
_USER = re.compile(r"Credential=([^/]+)/")


def call_of(environ: Mapping[str, Any]) -> Call:
    """The permission that a request asks for, of path-style addresses."""
    path = unquote(str(environ["PATH_INFO"])).strip("/")
    key = path.partition("/")[2]
    query = {name: values[0] for name, values in parse_qs(environ.get("QUERY_STRING", ""), True).items()}
    arn = f"arn:aws:s3:::{path}"
    method = environ["REQUEST_METHOD"]
    if not key:
        return _of_bucket(method, arn, query)
    if method in ("GET", "HEAD"):
        return Call("s3:GetObject", arn)
    if method == "DELETE":
        return Call("s3:AbortMultipartUpload" if "uploadId" in query else "s3:DeleteObject", arn)
    return Call("s3:PutObject", arn, _conditions(environ, query))


def _of_bucket(method: str, arn: str, query: Mapping[str, str]) -> Call:
    assert method == "GET", f"{method} of a bucket"
    if "uploads" in query:
        return Call("s3:ListBucketMultipartUploads", arn)
    assert query.get("list-type") == "2", query
    return Call("s3:ListBucket", arn, {"s3:prefix": query.get("prefix", "")})


def _conditions(environ: Mapping[str, Any], query: Mapping[str, str]) -> dict[str, str]:
    """Beginning an upload and sending a piece of it create no object yet."""
    unfinished = "uploads" in query or "partNumber" in query
    context = {"s3:ObjectCreationOperation": "false" if unfinished else "true"}
    if given := environ.get("HTTP_IF_NONE_MATCH"):
        context["s3:if-none-match"] = given
    return context


class Guard:
    """Answers 403 to what the policy of the caller's access key does not allow; remembers what was asked."""

    def __init__(self, policies: Mapping[str, Mapping[str, Any]]) -> None:
        self._policies = policies
        self.asked: list[tuple[str, Call]] = []
        self.denied: list[tuple[str, Call]] = []

    def around(self, app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
        """The guarded application."""

        def guarded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            found = _USER.search(environ.get("HTTP_AUTHORIZATION", ""))
            user = found.group(1) if found else "nobody"
            if user == OWNER or self._lets(user, call_of(environ)):
                return app(environ, start_response)
            start_response("403 Forbidden", [("Content-Type", "application/xml")])
            return [b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"]

        return guarded

    def _lets(self, user: str, call: Call) -> bool:
        self.asked.append((user, call))
        allowed = user in self._policies and allows(self._policies[user], call)
        if not allowed:
            self.denied.append((user, call))
        return allowed
