"""Which S3 failures pass by themselves, and what to say of the others."""

import random
from collections.abc import Callable
from typing import TypeVar

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ResponseStreamingError,
)
from botocore.parsers import ResponseParserError

from autosteer_core.errors import TryAgain, Unreachable, UserMistake

T = TypeVar("T")

_TRIES = 5
_FIRST_PAUSE_SECONDS = 0.2
_PASSING = {"SlowDown", "Throttling", "ThrottlingException", "RequestTimeout", "InternalError"}
_SPOILED = {"BadDigest", "IncompleteBody", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"}
_ELSEWHERE = {"301", "302", "307", "PermanentRedirect", "TemporaryRedirect", "IllegalLocationConstraintException"}
_BROKEN_TRANSFER = (
    ConnectionError,
    HTTPClientError,
    IncompleteReadError,
    ResponseParserError,
    ResponseStreamingError,
)


def error_code(error: ClientError) -> str:
    """The HTTP status as text: S3's own code words differ between GET, HEAD and vendors."""
    return str(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))


def is_missing(error: ClientError) -> bool:
    """The object or upload is not there, which is an answer; a bucket that is not there is a mistake."""
    return error_code(error) == "404" and error.response["Error"]["Code"] != "NoSuchBucket"


class Retry:
    """Call again, a few times with growing pauses, while the failure may pass by itself."""

    def __init__(self, where: str, sleep: Callable[[float], None]) -> None:
        self._where = where
        self._sleep = sleep

    def __call__(self, act: Callable[[], T]) -> T:
        for attempt in range(1, _TRIES):
            try:
                return self._plainly(act)
            except TryAgain:
                # Full jitter, so that workers that failed together do not come back together.
                self._sleep(random.uniform(0, _FIRST_PAUSE_SECONDS * 2**attempt))
        return self._plainly(act)

    def _plainly(self, act: Callable[[], T]) -> T:
        """Turn S3's errors into what the caller does next; `act` itself takes those that are answers to it."""
        try:
            return act()
        except _BROKEN_TRANSFER as error:
            raise Unreachable(f"{self._where} cannot be reached: {error}") from error
        except FlexibleChecksumError as error:  # not Unreachable: if the object itself is damaged, waiting is no help
            raise TryAgain(f"{self._where} sent bytes that are not what was stored: {error}") from error
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise UserMistake(
                f"no S3 credentials for {self._where}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile"
            ) from error
        except ClientError as error:
            raise self._explained(error) from error
        except RecursionError as error:  # botocore asks for a bucket's region, is sent elsewhere, and asks again
            raise self._elsewhere("redirected without end") from error
        except BotoCoreError as error:
            raise UserMistake(f"S3 is not set up for {self._where}: {error}") from error

    def _explained(self, error: ClientError) -> TryAgain | UserMistake:
        code, status = error.response["Error"]["Code"], error_code(error)
        if code == "NoSuchBucket":
            return UserMistake(f"the bucket of {self._where} does not exist: create it or name another")
        if code == "NotImplemented":
            return UserMistake(f"{self._where} lacks an S3 feature (conditional writes?): use another store")
        if code in _PASSING or status == "429" or status.startswith("5"):
            return Unreachable(f"{self._where} is not answering: {code}")
        if code in _SPOILED:
            return TryAgain(f"{self._where} got bytes that were spoiled on the way ({code})")
        if code in _ELSEWHERE:
            return self._elsewhere(code)
        if status == "409":
            return TryAgain(f"{self._where}: somebody else is writing at the same moment ({code})")
        return UserMistake(
            f"{self._where} refused the request ({code}): check the address, credentials, rights and clock",
            "E_ACCESS" if status in ("401", "403") else None,
        )

    def _elsewhere(self, code: str) -> UserMistake:
        return UserMistake(
            f"{self._where} lies in another region or account than this client asks ({code}): set its region",
            "E_BUCKET_NOT_ALLOWED",
        )
