"""A body that is too large for one request goes to S3 in pieces, and becomes visible in one step at the end."""

import hashlib
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from autosteer_core.errors import TryAgain
from infra.s3_retry import Retry, error_code, is_missing

_DECIDED = {"409", "412"}


@dataclass(frozen=True)
class LargeUpload:
    """One write of one object; nobody sees anything of it before its last request is applied."""

    client: Any
    retry: Retry
    place: dict[str, str]
    metadata: dict[str, str]
    is_ours: Callable[[], bool]  # of the object that is there now; raises TryAgain if there is none

    def put_if_absent(self, data: bytes, piece_bytes: int) -> bool:
        """Whether the object is there by this call; what was sent in vain is removed.

        Raises:
            TryAgain: the store did not answer, or the upload was swept away while it was open.
        """
        upload = self.place | {"UploadId": self.retry(self._begin)}
        won = False
        try:
            starts = range(0, len(data), piece_bytes)
            pieces = [
                self._send(upload, number, data[start : start + piece_bytes])
                for number, start in enumerate(starts, start=1)
            ]
            won = self.retry(lambda: self._finish(upload, pieces))
        finally:
            if not won:
                self._abort(upload)
        return won

    def _begin(self) -> str:
        # If this reply is lost, an upload stays open that nobody knows: a sweep finds it.
        reply = self.client.create_multipart_upload(**self.place, Metadata=self.metadata, ChecksumAlgorithm="SHA256")
        return str(reply["UploadId"])

    def _send(self, upload: dict[str, str], number: int, piece: bytes) -> dict[str, Any]:
        """A piece that is sent twice replaces itself."""
        digest = as_base64(hashlib.sha256(piece).hexdigest())

        def send() -> dict[str, Any]:
            try:
                reply = self.client.upload_part(**upload, PartNumber=number, Body=piece, ChecksumSHA256=digest)
            except ClientError as error:
                raise _swept(upload, error) if is_missing(error) else error from error
            return {"PartNumber": number, "ETag": reply["ETag"], "ChecksumSHA256": digest}

        return self.retry(send)

    def _finish(self, upload: dict[str, str], pieces: list[dict[str, Any]]) -> bool:
        try:
            self.client.complete_multipart_upload(**upload, MultipartUpload={"Parts": pieces}, IfNoneMatch="*")
        except ClientError as error:
            # The upload is also missing if an earlier try completed it and its reply was lost.
            if is_missing(error) or error_code(error) in _DECIDED:
                return self.is_ours()
            raise
        return True

    def _abort(self, upload: dict[str, str]) -> None:
        """What cannot be removed now is left to a sweep: the error that led here says more."""
        with suppress(BotoCoreError, ClientError):
            self.client.abort_multipart_upload(**upload)


def as_base64(hexdigest: str) -> str:
    """A digest as S3 wants it; S3 refuses a body that does not match."""
    return b64encode(bytes.fromhex(hexdigest)).decode()


def _swept(upload: dict[str, str], error: ClientError) -> TryAgain:
    return TryAgain(f"the upload of {upload['Key']} was removed while it was open ({error}): begin it again")
