"""Each role may do what the program does as that role, and nothing else."""

import copy
import json
from typing import Any

import pytest

from autosteer_core.commit import commit_part, seal, unseal
from autosteer_core.errors import AutosteerError
from autosteer_core.garbage import collect
from autosteer_core.registry import Published
from autosteer_core.row_ids import RowIds
from autosteer_core.run import Run, take_over
from autosteer_core.values import Action, Lease, Verdict
from pipelines.retrain import Outcome, retrain_registry
from tests.deploy.conftest import BUCKET, ROLES, StoreAs
from tests.deploy.files import read_json
from tests.deploy.iam_rules import Call, allows
from tests.deploy.s3_calls import OWNER, Guard
from tests.registries import files, registry
from tests.retrainings import REQUEST, learning, new_rows, serving

POLICIES = {role: read_json(f"iam/{role}.json") for role in ROLES}
OUT = f"arn:aws:s3:::{BUCKET}/output/by-hand"
LARGE = bytes(5 * 2**20 + 1)


def granted(policy: dict[str, Any]) -> set[str]:
    return {
        action
        for statement in policy["Statement"]
        if statement["Effect"] == "Allow"
        for action in statement["Action"]
    }


@pytest.mark.parametrize("role", ROLES)
def test_no_role_is_granted_a_wildcard_of_actions_or_all_resources(role: str) -> None:
    for statement in POLICIES[role]["Statement"]:
        if statement["Effect"] == "Allow":
            assert statement.keys() >= {"Sid", "Action", "Resource"}
            assert not any("*" in action for action in statement["Action"])
            assert all(arn.startswith(f"arn:aws:s3:::{BUCKET}") for arn in statement["Resource"])
            assert all(arn != f"arn:aws:s3:::{BUCKET}/*" for arn in statement["Resource"])


@pytest.mark.parametrize("role", ROLES)
def test_a_policy_is_small_enough_for_a_role(role: str) -> None:
    """Inline policies of a role share 10,240 characters, without white space."""
    assert len(json.dumps(POLICIES[role], separators=(",", ":"))) < 10_240


def test_a_worker_may_do_what_a_run_asks_of_s3_and_is_granted_nothing_else(store_as: StoreAs, guard: Guard) -> None:
    inputs, bundle = store_as(OWNER, "input"), store_as(OWNER, "bundles/current")
    inputs.put("items.jsonl", b"{}")
    bundle.put("card.json", b"{}")
    guard.asked.clear()

    _run_as_worker(store_as)
    assert list(store_as("worker", "input").keys()) == ["items.jsonl"]
    assert store_as("worker", "input").first_bytes("items.jsonl", 1) == b"{"
    assert store_as("worker", "bundles/current").get("card.json") == b"{}"

    assert {call.action for user, call in guard.asked if user == "worker"} == granted(POLICIES["worker"])
    assert not [call for user, call in guard.denied if user == "worker"]


def _run_as_worker(store_as: StoreAs) -> None:
    """A run of one part, from claiming the output to sweeping, one large body and one lost race in it."""
    out = store_as("worker", "output/by-hand")
    run = Run("audit", "s3://input", [("items.jsonl", 1, "hash")], "bundle", {})
    assert not take_over(out, run)
    [part] = list(run.parts(8))
    verdict = Verdict(row=0, item_id="a", action=Action.ALLOW, risk=0.1, threshold=0.5)
    assert commit_part(out, Lease(part, 1, "w", 0.0), [verdict], LARGE)
    assert not commit_part(out, Lease(part, 2, "w", 0.0), [verdict], b"too late")
    ids = RowIds.of(part.source, [(0, "a")])
    seal(out, [part], ids)
    unseal(out)
    seal(out, [part], ids)
    out.put("summary.json", b"{}")
    out.put("report.html", b"")
    out.put_if_absent("audit/00000000.json", b"{}")
    left = out._client.create_multipart_upload(Bucket=BUCKET, Key="output/by-hand/parts/left")
    assert left["UploadId"]
    assert collect(out, grace_seconds=-10.0) == 1


def test_a_reader_may_read_a_finished_output_and_nothing_else(store_as: StoreAs, guard: Guard) -> None:
    store_as(OWNER, "output/tuesday").put("dataset.json", b"{}")
    store_as(OWNER, "registry").put("labels/1.parquet", b"{}")
    out = store_as("reader", "output/tuesday")
    guard.asked.clear()

    assert list(out.keys()) == ["dataset.json"]
    assert out.get("dataset.json") == b"{}"
    assert out.age("dataset.json") < 60

    assert {call.action for _, call in guard.asked} == granted(POLICIES["reader"])
    for denied in (
        lambda: out.put("dataset.json", b"changed"),
        lambda: out.put_if_absent("parts/1", b""),
        lambda: out.delete("dataset.json"),
        lambda: list(store_as("reader", "registry").keys()),
        lambda: store_as("reader", "registry").get("labels/1.parquet"),
    ):
        with pytest.raises(AutosteerError, match="AccessDenied|403|not allowed|denied"):
            denied()


def test_a_retraining_does_its_work_under_its_role_and_is_granted_nothing_else(
    store_as: StoreAs, guard: Guard
) -> None:
    serving(store_as(OWNER, "registry"))
    store_as(OWNER, "output/by-hand").put("dataset.json", b"{}")
    guard.asked.clear()

    store = store_as("retrain", "registry")
    done = retrain_registry(store, registry(store), learning(new_rows()), REQUEST, lambda step: None)
    assert store_as("retrain", "output/by-hand").get("dataset.json") == b"{}"

    assert done.outcome is Outcome.CANDIDATE
    assert not [call for user, call in guard.denied if user == "retrain"]
    # Only a large bundle is sent in pieces, and only one that fails gives them up.
    assert {call.action for _, call in guard.asked} == granted(POLICIES["retrain"]) - {"s3:AbortMultipartUpload"}


def test_a_run_that_follows_the_registry_reads_it_and_adds_what_its_guard_says(
    store_as: StoreAs, guard: Guard
) -> None:
    parent = serving(store_as(OWNER, "registry"))
    ours = registry(store_as(OWNER, "registry"))
    other = ours.publish(files(1, "0f" * 32), Published())
    ours.promote(other, "to be left", "a@b")

    store = store_as("worker", "registry")
    assert registry(store).files(other)
    registry(store).roll_back("it stops everything", "guard")
    for _ in range(2):
        store.put(f"shadow/{other}/run.json", b"{}")

    assert registry(store).state().serving == parent
    assert not [call for user, call in guard.denied if user == "worker"]


_LEARNT_FROM = ["materials/1.parquet", "labels/1.parquet", "audit/000000001.json"]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("key", _LEARNT_FROM)
def test_no_role_replaces_or_deletes_what_bundles_were_learnt_from(role: str, key: str) -> None:
    """The locked holdout is one of the materials."""
    arn = f"arn:aws:s3:::{BUCKET}/registry/{key}"

    assert not allows(POLICIES[role], Call("s3:PutObject", arn, _PUT))
    assert not allows(POLICIES[role], Call("s3:DeleteObject", arn))


@pytest.mark.parametrize("key", _LEARNT_FROM)
def test_a_retraining_deletes_none_of_it_under_a_wider_grant_either(key: str) -> None:
    wider = copy.deepcopy(POLICIES["retrain"])
    wider["Statement"].append({"Sid": "x", "Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]})
    arn = f"arn:aws:s3:::{BUCKET}/registry/{key}"

    assert allows(wider, Call("s3:GetObject", arn))
    assert not allows(wider, Call("s3:PutObject", arn, _PUT))
    assert not allows(wider, Call("s3:DeleteObject", arn))


_PUT = {"s3:ObjectCreationOperation": "true"}
_FOR_GOOD = [
    "parts/1.parquet",
    "commits/1.json",
    "redone/1.json",
    "activations/1.parquet",
    "audit/1.json",
    "_SUCCESS",
]


@pytest.mark.parametrize("key", [*_FOR_GOOD, "run.json"])
def test_a_worker_puts_what_is_for_good_only_where_nothing_is(key: str) -> None:
    assert allows(POLICIES["worker"], Call("s3:PutObject", f"{OUT}/{key}", _PUT | {"s3:if-none-match": "*"}))
    assert not allows(POLICIES["worker"], Call("s3:PutObject", f"{OUT}/{key}", _PUT))


@pytest.mark.parametrize("key", ["commits/1.json", "redone/1.json", "audit/1.json", "dataset.json"])
def test_a_worker_cannot_delete_a_record(key: str) -> None:
    assert not allows(POLICIES["worker"], Call("s3:DeleteObject", f"{OUT}/{key}"))


@pytest.mark.parametrize("prefix", ["", "holdout/", "regis"])
def test_a_worker_cannot_list_what_is_not_its_own(prefix: str) -> None:
    call = Call("s3:ListBucket", f"arn:aws:s3:::{BUCKET}", {"s3:prefix": prefix})

    assert not allows(POLICIES["worker"], call)


@pytest.mark.parametrize("sid", [statement["Sid"] for statement in POLICIES["worker"]["Statement"]])
def test_every_statement_of_the_worker_is_needed(sid: str) -> None:
    """A negative control: without any one of them, some call is judged otherwise."""
    less = {"Statement": [each for each in POLICIES["worker"]["Statement"] if each["Sid"] != sid]}
    calls = [
        Call("s3:ListBucket", f"arn:aws:s3:::{BUCKET}", {"s3:prefix": "output/monday/"}),
        Call("s3:GetObject", f"{OUT}/run.json"),
        Call("s3:PutObject", f"{OUT}/run.json", _PUT | {"s3:if-none-match": "*"}),
        Call("s3:PutObject", f"{OUT}/run.json", _PUT),
        Call("s3:DeleteObject", f"{OUT}/run.json"),
        Call("s3:ListBucketMultipartUploads", f"arn:aws:s3:::{BUCKET}"),
    ]

    assert [allows(less, call) for call in calls] != [allows(POLICIES["worker"], call) for call in calls]


def test_a_run_fails_with_a_worker_that_lacks_one_permission(store_as: StoreAs, guard: Guard) -> None:
    """A negative control of the server: it does refuse."""
    out = store_as("nobody", "output/wednesday")

    with pytest.raises(AutosteerError):
        out.put_if_absent("run.json", b"{}")
    assert guard.denied[-1][0] == "nobody"


class TestBucketPolicy:
    policy = read_json("s3/bucket-policy.json")

    def test_it_only_takes_rights_away(self) -> None:
        assert {statement["Effect"] for statement in self.policy["Statement"]} == {"Deny"}

    @pytest.mark.parametrize("key", [key for key in _FOR_GOOD if "/" in key])
    def test_not_even_an_owner_replaces_what_is_committed(self, key: str) -> None:
        policy = {"Statement": [*self.policy["Statement"], _ALL]}
        put = Call("s3:PutObject", f"{OUT}/{key}", _PUT)

        assert not allows(policy, put)
        assert allows(policy, Call("s3:PutObject", put.resource, _PUT | {"s3:if-none-match": "*"}))
        assert allows(policy, Call("s3:PutObject", put.resource, {"s3:ObjectCreationOperation": "false"}))

    @pytest.mark.parametrize("key", _LEARNT_FROM)
    def test_only_the_keeper_removes_what_bundles_were_learnt_from(self, key: str) -> None:
        policy = {"Statement": [*self.policy["Statement"], _ALL]}
        arn = f"arn:aws:s3:::{BUCKET}/registry/{key}"
        keeper = {"aws:PrincipalArn": "arn:aws:iam::111122223333:role/autosteer-registry-keeper"}

        assert allows(policy, Call("s3:DeleteObject", arn, keeper))
        assert not allows(policy, Call("s3:DeleteObject", arn, {"aws:PrincipalArn": "arn:aws:iam::1:root"}))
        assert not allows(policy, Call("s3:PutObject", arn, _PUT | keeper))

    def test_nothing_goes_unencrypted(self) -> None:
        policy = {"Statement": [*self.policy["Statement"], _ALL]}
        read = Call("s3:GetObject", f"{OUT}/run.json", {"aws:SecureTransport": "false"})

        assert not allows(policy, read)
        assert allows(policy, Call("s3:GetObject", read.resource, {"aws:SecureTransport": "true"}))


_ALL = {"Sid": "all", "Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]}


def test_s3_takes_the_bucket_policy_and_the_lifecycle(guarded_s3: str) -> None:
    """boto3 checks their shapes; moto is not the real S3."""
    from tests.deploy.conftest import _client

    client = _client(guarded_s3, OWNER)
    client.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(read_json("s3/bucket-policy.json")))
    client.delete_bucket_policy(Bucket=BUCKET)
    client.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration=read_json("s3/lifecycle.json"))

    [rule] = client.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 2}
