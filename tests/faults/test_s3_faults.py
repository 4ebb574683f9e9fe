"""S3 fails in the ways it fails in practice."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import boto3
import pytest

from autosteer_core.errors import TryAgain, UserMistake
from infra.s3_store import S3Store
from tests.fault_proxy import Fault, Faults, serve_faults


@dataclass
class Remote:
    """A store behind a proxy that fails on request; it notes its pauses and does not take them."""

    store: S3Store
    faults: Faults
    pauses: list[float] = field(default_factory=list)


@pytest.fixture
def remote(s3_endpoint: str, s3_address: str) -> Iterator[Remote]:
    faults = Faults()
    pauses: list[float] = []
    with serve_faults(s3_endpoint, faults) as url:
        yield Remote(S3Store(client(url), bucket_of(s3_address), "run", pauses.append), faults, pauses)


def client(url: str, read_seconds: float = 10) -> object:
    from botocore.config import Config

    config = Config(retries={"total_max_attempts": 1}, read_timeout=read_seconds)
    return boto3.client("s3", endpoint_url=url, config=config)


def bucket_of(address: str) -> str:
    return address.split("/")[2]


def test_a_put_whose_reply_was_lost_counts_as_ours(remote: Remote) -> None:
    remote.faults.coming = [Fault.LOSE_REPLY]
    assert remote.store.put_if_absent("commits/1", b"ours") is True
    assert remote.faults.requests == 2
    assert remote.store.get("commits/1") == b"ours"


def test_a_put_whose_reply_was_lost_is_not_ours_if_another_was_first(remote: Remote) -> None:
    remote.store.put_if_absent("commits/1", b"theirs")
    remote.faults.coming = [Fault.LOSE_REPLY]
    assert remote.store.put_if_absent("commits/1", b"ours") is False
    assert remote.store.get("commits/1") == b"theirs"


@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_a_busy_server_is_asked_again_with_growing_pauses(remote: Remote, method: str) -> None:
    remote.store.put("a", b"bytes")
    remote.faults.methods = {method}
    remote.faults.coming = [Fault.BUSY] * 4
    remote.store.put("a", b"bytes")
    assert remote.store.get("a") == b"bytes"
    assert len(remote.pauses) == 4
    assert all(pause <= 0.2 * 2**attempt for attempt, pause in enumerate(remote.pauses, start=1))


def test_a_server_that_stays_busy_means_try_again_later(remote: Remote) -> None:
    remote.faults.coming = [Fault.BUSY] * 99
    with pytest.raises(TryAgain, match=r"s3://bucket-.*/run is not answering: 503"):
        remote.store.put_if_absent("a", b"bytes")
    assert remote.faults.requests == 5


def test_bytes_spoiled_on_the_way_are_fetched_again(remote: Remote) -> None:
    remote.store.put("a", b"bytes")
    remote.faults.methods = {"GET"}
    remote.faults.coming = [Fault.SPOIL_REPLY]
    assert remote.store.get("a") == b"bytes"
    assert len(remote.pauses) == 1


def test_bytes_that_stay_spoiled_are_never_returned(remote: Remote) -> None:
    remote.store.put("a", b"bytes")
    remote.faults.methods = {"GET"}
    remote.faults.coming = [Fault.SPOIL_REPLY] * 99
    with pytest.raises(TryAgain):
        remote.store.get("a")
    assert len(remote.pauses) == 4


def test_bytes_that_do_not_match_their_own_digest_are_never_returned(remote: Remote, s3_address: str) -> None:
    place = {"Bucket": bucket_of(s3_address), "Key": "run/a"}
    boto3.client("s3").put_object(**place, Body=b"altered", Metadata={"sha256": "0" * 64})
    with pytest.raises(TryAgain, match="expected 7 bytes with 0000"):
        remote.store.get("a")


def test_a_server_that_cannot_be_reached_means_try_again_later(s3_address: str) -> None:
    store = S3Store(client("http://127.0.0.1:9"), bucket_of(s3_address), "run", lambda seconds: None)
    with pytest.raises(TryAgain, match="cannot be reached"):
        store.put_if_absent("a", b"bytes")


def test_a_missing_bucket_is_a_mistake_to_correct(s3_address: str, s3_endpoint: str) -> None:
    store = S3Store(client(s3_endpoint), "no-such-bucket", "run")
    large = b"x" * (16 * 2**20 + 1)
    for act in (
        lambda: store.get("a"),
        lambda: store.put_if_absent("a", b""),
        lambda: store.put_if_absent("a", large),
        lambda: list(store.keys()),
        lambda: store.age("a"),
        lambda: store.sweep(0.0),
    ):
        with pytest.raises(UserMistake, match="the bucket of s3://no-such-bucket/run does not exist"):
            act()


@pytest.mark.parametrize(
    ("status", "code", "error", "message"),
    [
        (403, "AccessDenied", UserMistake, r"refused the request \(AccessDenied\)"),
        (400, "ExpiredToken", UserMistake, r"refused the request \(ExpiredToken\)"),
        (501, "NotImplemented", UserMistake, "lacks an S3 feature"),
        (429, "TooManyRequests", TryAgain, "not answering"),
        (503, "SlowDown", TryAgain, "not answering"),
    ],
)
def test_a_refusal_is_a_mistake_and_a_busy_server_is_not(
    s3_endpoint: str, s3_address: str, status: int, code: str, error: type[Exception], message: str
) -> None:
    answer = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    faults = Faults(answer=(status, answer), odds={Fault.REFUSE: 1.0})
    with serve_faults(s3_endpoint, faults) as url:
        store = S3Store(client(url), bucket_of(s3_address), "run", lambda seconds: None)
        with pytest.raises(error, match=message):
            store.put_if_absent("a", b"bytes")
    assert faults.requests == (1 if error is UserMistake else 5)


def test_empty_folders_made_by_a_console_are_not_keys(s3_endpoint: str, s3_address: str) -> None:
    store = S3Store(client(s3_endpoint), bucket_of(s3_address), "run")
    for key in ("run/", "run/parts/", "run/parts/1"):
        boto3.client("s3").put_object(Bucket=bucket_of(s3_address), Key=key)
    assert list(store.keys()) == ["parts/1"]


def test_missing_credentials_are_a_mistake_to_correct(
    s3_address: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(UserMistake, match="no S3 credentials"):
        S3Store(boto3.session.Session().client("s3"), bucket_of(s3_address)).get("a")
