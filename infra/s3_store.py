"""A blob store in an S3 bucket, or in anything that speaks S3's conditional writes."""

import hashlib
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from uuid import uuid4

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from autosteer_core.errors import TryAgain, UserMistake
from infra.blob_key import checked_key, checked_prefix
from infra.s3_retry import Retry, error_code

_TAKEN = "412"
_BEING_WRITTEN = "409"
_MISSING = "404"
_CONNECT_SECONDS = 5
_READ_SECONDS = 60


def s3_client() -> Any:
    """A client as `S3Store` needs it, set up by boto3's own environment and profiles."""
    config = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"total_max_attempts": 1},  # S3Store retries, and knows its own object again
    )
    try:
        return boto3.client("s3", config=config)
    except (BotoCoreError, ValueError) as error:
        raise UserMistake(f"S3 is not set up: {error}") from error


class S3Store:
    """Blobs under one prefix of a bucket; `client` is a boto3 S3 client that does not retry by itself."""

    def __init__(
        self, client: Any, bucket: str, prefix: str = "", sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._root = f"{prefix}/" if prefix else ""
        self._retry = Retry(self.describe(), sleep)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        place = self._place(key)
        metadata = {"attempt": uuid4().hex, "sha256": hashlib.sha256(data).hexdigest()}
        return self._retry(lambda: self._put_new(place, data, metadata))

    def put(self, key: str, data: bytes) -> None:
        metadata = {"sha256": hashlib.sha256(data).hexdigest()}
        place = self._place(key)
        self._retry(lambda: self._client.put_object(**place, Body=data, Metadata=metadata))

    def get(self, key: str) -> bytes:
        place = self._place(key)
        try:
            return self._retry(lambda: self._read(place))
        except ClientError as error:
            if error_code(error) == _MISSING:
                raise KeyError(key) from None
            raise

    def keys(self, prefix: str = "") -> Iterator[str]:
        request = {"Bucket": self._bucket, "Prefix": self._root + checked_prefix(prefix)}
        while True:
            page = self._retry(lambda: self._client.list_objects_v2(**request))
            keys = (entry["Key"].removeprefix(self._root) for entry in page.get("Contents", []))
            yield from (key for key in keys if key and not key.endswith("/"))  # consoles make empty "folders"
            if not page["IsTruncated"]:
                return
            request["ContinuationToken"] = page["NextContinuationToken"]

    def delete(self, key: str) -> None:
        place = self._place(key)
        self._retry(lambda: self._client.delete_object(**place))

    def age(self, key: str) -> float:
        place = self._place(key)
        try:
            found = self._retry(lambda: self._client.head_object(**place))
        except ClientError as error:
            if error_code(error) == _MISSING:
                raise KeyError(key) from None
            raise
        return max(0.0, _seconds_since(found["LastModified"], found))

    def sweep(self, older_than: float) -> int:
        return 0  # every write is one request, which is applied whole or not at all

    def describe(self) -> str:
        return f"s3://{self._bucket}/{self._root}".removesuffix("/")

    def _place(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._root + checked_key(key)}

    def _put_new(self, place: dict[str, str], data: bytes, metadata: dict[str, str]) -> bool:
        try:
            self._client.put_object(**place, Body=data, Metadata=metadata, IfNoneMatch="*")
        except ClientError as error:
            if error_code(error) == _TAKEN:
                return self._is_ours(place, metadata["attempt"])
            if error_code(error) == _BEING_WRITTEN:
                raise TryAgain(f"{place['Key']} is being written by someone else") from error
            raise
        return True

    def _is_ours(self, place: dict[str, str], attempt: str) -> bool:
        # An earlier try of this very call may have been applied and its reply lost: then the object that
        # is in our way is our own, and we did win.
        try:
            stored = self._client.head_object(**place)
        except ClientError as error:
            if error_code(error) == _MISSING:
                raise TryAgain(f"{place['Key']} was deleted in between") from error
            raise
        return bool(stored["Metadata"].get("attempt") == attempt)

    def _read(self, place: dict[str, str]) -> bytes:
        reply = self._client.get_object(**place)
        data: bytes = reply["Body"].read()
        expected = reply["Metadata"].get("sha256")  # objects that others uploaded have none
        found = hashlib.sha256(data).hexdigest()
        if len(data) != reply["ContentLength"] or expected not in (None, found):
            # The transfer or the object: worth another try, and the part is buried with this if it stays so.
            raise TryAgain(
                f"{self.describe()}: {place['Key']} has {len(data)} bytes with SHA-256 {found}, expected "
                f"{reply['ContentLength']} bytes with {expected}: restore it from another copy"
            )
        return data


def _seconds_since(moment: datetime, reply: dict[str, Any]) -> float:
    """By the server's clock, which its reply tells: this machine's may be wrong."""
    now = reply["ResponseMetadata"]["HTTPHeaders"].get("date")
    return ((parsedate_to_datetime(now) if now else datetime.now(UTC)) - moment).total_seconds()
