"""A blob store in an S3 bucket, or in anything that speaks S3's conditional writes."""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any
from uuid import uuid4

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from autosteer_core.errors import TryAgain, UserMistake
from infra.blob_key import checked_key, checked_prefix
from infra.s3_multipart import LargeUpload, as_base64
from infra.s3_retry import Retry, error_code, is_missing

_TAKEN = "412"
_PIECE_BYTES = 16 * 2**20
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
    """Blobs under one prefix of a bucket; `client` is a boto3 S3 client that does not retry by itself.

    What is put for good and is larger than `piece_bytes` (S3 wants 5 MiB at least) is sent in pieces of that size.
    """

    def __init__(
        self,
        client: Any,
        bucket: str,
        prefix: str = "",
        sleep: Callable[[float], None] = time.sleep,
        piece_bytes: int = _PIECE_BYTES,
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._root = f"{prefix}/" if prefix else ""
        self._piece_bytes = piece_bytes
        self._retry = Retry(self.describe(), sleep)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        place = self._place(key)
        metadata = {"attempt": uuid4().hex, "sha256": hashlib.sha256(data).hexdigest()}
        if len(data) <= self._piece_bytes:
            return self._retry(lambda: self._put_new(place, data, metadata))
        ours = partial(self._is_ours, place, metadata["attempt"])
        return LargeUpload(self._client, self._retry, place, metadata, ours).put_if_absent(data, self._piece_bytes)

    def put(self, key: str, data: bytes) -> None:
        digest = hashlib.sha256(data).hexdigest()
        request = {"Body": data, "Metadata": {"sha256": digest}, "ChecksumSHA256": as_base64(digest)}
        place = self._place(key)
        self._retry(lambda: self._client.put_object(**place, **request))

    def get(self, key: str) -> bytes:
        place = self._place(key)
        return self._retry(lambda: self._read(key, place))

    def first_bytes(self, key: str, most: int) -> bytes:
        place = self._place(key)
        return self._retry(lambda: self._start(key, place, most))

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
        # A listing tells a bucket that is missing from a key that is missing; HEAD does not.
        request = {"Bucket": self._bucket, "Prefix": self._place(key)["Key"], "MaxKeys": 1}
        page = self._retry(lambda: self._client.list_objects_v2(**request))
        for entry in page.get("Contents", []):
            if entry["Key"] == request["Prefix"]:
                return max(0.0, _seconds_since(entry["LastModified"], page))
        raise KeyError(key)

    def sweep(self, older_than: float) -> int:
        """A process that is killed during a large write leaves an upload open: it is paid for and not listed."""
        left = [upload for upload, age in self._open_uploads() if age >= older_than]
        for upload in left:
            self._retry(partial(self._abort, upload))
        return len(left)

    def describe(self) -> str:
        return f"s3://{self._bucket}/{self._root}".removesuffix("/")

    def _place(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._root + checked_key(key)}

    def _put_new(self, place: dict[str, str], data: bytes, metadata: dict[str, str]) -> bool:
        digest = as_base64(metadata["sha256"])
        try:
            self._client.put_object(**place, Body=data, Metadata=metadata, IfNoneMatch="*", ChecksumSHA256=digest)
        except ClientError as error:
            if error_code(error) == _TAKEN:
                return self._is_ours(place, metadata["attempt"])
            raise
        return True

    def _is_ours(self, place: dict[str, str], attempt: str) -> bool:
        # An earlier try of this very call may have been applied and its reply lost: then the object that
        # is in our way is our own, and we did win.
        try:
            stored = self._client.head_object(**place)
        except ClientError as error:
            if is_missing(error):
                raise TryAgain(f"{place['Key']} was deleted in between") from error
            raise
        return bool(stored["Metadata"].get("attempt") == attempt)

    def _open_uploads(self) -> Iterator[tuple[dict[str, str], float]]:
        """(upload, its age in seconds) under our prefix."""
        request = {"Bucket": self._bucket, "Prefix": self._root}
        while True:
            page = self._retry(partial(self._client.list_multipart_uploads, **request))
            for entry in page.get("Uploads", []):
                upload = {"Bucket": self._bucket, "Key": entry["Key"], "UploadId": entry["UploadId"]}
                yield upload, _seconds_since(entry["Initiated"], page)
            if not page["IsTruncated"]:
                return
            request |= {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def _abort(self, upload: dict[str, str]) -> None:
        try:
            self._client.abort_multipart_upload(**upload)
        except ClientError as error:
            if not is_missing(error):  # it ended by itself in between
                raise

    def _opened(self, key: str, place: dict[str, str]) -> dict[str, Any]:
        try:
            reply: dict[str, Any] = self._client.get_object(**place)
        except ClientError as error:
            if is_missing(error):
                raise KeyError(key) from None
            raise
        return reply

    def _start(self, key: str, place: dict[str, str], most: int) -> bytes:
        """A range would be refused for an empty object, so the rest is hung up on."""
        reply = self._opened(key, place)
        if reply["ContentLength"] <= most:
            return self._whole(reply, place)
        with closing(reply["Body"]) as body:
            return bytes(body.read(most))

    def _read(self, key: str, place: dict[str, str]) -> bytes:
        return self._whole(self._opened(key, place), place)

    def _whole(self, reply: dict[str, Any], place: dict[str, str]) -> bytes:
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
