"""A large body is one blob like any other: whole or not at all, by one writer, whatever happens on the way."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import boto3
import pytest

from autosteer_core.errors import TryAgain, Unreachable
from infra.s3_store import S3Store
from tests.fault_proxy import Fault, Faults, serve_faults
from tests.faults.test_s3_faults import Remote, bucket_of, client

PIECE = 5 * 2**20  # the least that S3 takes
LARGE = bytes(range(251)) * (2 * PIECE // 251 + 1_000)


@pytest.fixture
def remote(s3_endpoint: str, s3_address: str) -> Iterator[Remote]:
    faults = Faults()
    pauses: list[float] = []
    with serve_faults(s3_endpoint, faults) as url:
        store = S3Store(client(url), bucket_of(s3_address), "run", pauses.append, PIECE)
        yield Remote(store, faults, pauses)


def open_uploads(address: str) -> list[str]:
    found = boto3.client("s3").list_multipart_uploads(Bucket=bucket_of(address))
    return [upload["Key"] for upload in found.get("Uploads", [])]


def test_a_large_body_is_sent_in_pieces_and_comes_back_whole(remote: Remote, s3_address: str) -> None:
    assert remote.store.put_if_absent("parts/1", LARGE) is True
    assert remote.faults.requests == 3
    assert remote.store.get("parts/1") == LARGE
    assert open_uploads(s3_address) == []


def test_a_large_body_replaces_nothing_and_leaves_no_upload_open(remote: Remote, s3_address: str) -> None:
    remote.store.put_if_absent("parts/1", b"theirs")
    assert remote.store.put_if_absent("parts/1", LARGE) is False
    assert remote.store.get("parts/1") == b"theirs"
    assert open_uploads(s3_address) == []


def test_of_four_large_writers_at_once_exactly_one_wins(remote: Remote, s3_address: str) -> None:
    bodies = [LARGE + bytes([number]) for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(lambda body: remote.store.put_if_absent("parts/1", body), bodies))
    assert won.count(True) == 1
    assert remote.store.get("parts/1") == bodies[won.index(True)]
    assert open_uploads(s3_address) == []


@pytest.mark.parametrize("fault", [Fault.LOSE_REPLY, Fault.RESET_AFTER])
def test_the_last_request_whose_reply_was_lost_counts_as_ours(remote: Remote, s3_address: str, fault: Fault) -> None:
    remote.faults.methods = {"POST"}  # the first one begins an upload, the second one ends it
    for body, won in ((LARGE, True), (LARGE + b"of another", False)):
        remote.faults.requests, remote.faults.coming = 0, [Fault.DELAY, fault]
        assert remote.store.put_if_absent("parts/1", body) is won
        assert remote.faults.requests == 3
        assert remote.store.get("parts/1") == LARGE
    assert open_uploads(s3_address) == []


def test_an_upload_whose_beginning_got_no_reply_is_left_to_a_sweep(remote: Remote, s3_address: str) -> None:
    remote.faults.methods, remote.faults.coming = {"POST"}, [Fault.LOSE_REPLY]
    assert remote.store.put_if_absent("parts/1", LARGE) is True
    assert open_uploads(s3_address) == ["run/parts/1"]
    assert remote.store.sweep(older_than=60.0) == 1
    assert remote.store.get("parts/1") == LARGE


def test_pieces_that_are_spoiled_or_lost_are_sent_again(remote: Remote) -> None:
    remote.faults.coming = [Fault.SPOIL_REQUEST, Fault.RESET_BEFORE, Fault.RESET_AFTER, Fault.BUSY]
    assert remote.store.put_if_absent("parts/1", LARGE) is True
    assert remote.faults.requests == 3 + 4
    assert remote.store.get("parts/1") == LARGE


def test_a_large_body_that_cannot_be_sent_is_not_there_and_leaves_no_upload_open(
    remote: Remote, s3_address: str
) -> None:
    remote.faults.odds = {Fault.RESET_BEFORE: 1.0}
    with pytest.raises(Unreachable, match="cannot be reached"):
        remote.store.put_if_absent("parts/1", LARGE)
    assert list(remote.store.keys()) == [] and open_uploads(s3_address) == []


def test_a_sweep_removes_uploads_that_stayed_open_under_its_own_prefix_only(remote: Remote, s3_address: str) -> None:
    s3, bucket = boto3.client("s3"), bucket_of(s3_address)
    for key in ("run/parts/1", "run/parts/2", "running/parts/1"):
        s3.create_multipart_upload(Bucket=bucket, Key=key)
    assert remote.store.sweep(older_than=1e12) == 0
    assert remote.store.sweep(older_than=60.0) == 2
    assert open_uploads(s3_address) == ["running/parts/1"]


def test_an_upload_that_was_swept_while_it_was_open_is_no_success(remote: Remote) -> None:
    # The pieces are late, so that the sweep comes between them.
    remote.faults.odds, remote.faults.delay_seconds = {Fault.DELAY: 1.0}, 0.1
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(remote.store.put_if_absent, "parts/1", LARGE)
        while remote.store.sweep(older_than=0.0) == 0:
            pass
        with pytest.raises(TryAgain):
            writing.result()
    assert list(remote.store.keys()) == []
