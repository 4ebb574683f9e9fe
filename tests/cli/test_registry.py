"""A bundle's life from the command line: publish, shadow, canary, promote, rollback, and what `bundles` tells."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autosteer_core.bundle_reading import admit
from autosteer_core.bundle_signature import Signer
from autosteer_core.registry import Published, Registry
from infra.folder_store import FolderStore
from pipelines.bundle_files import load_bundle, save_bundle
from pipelines.registry_files import open_registry
from pipelines.settings import load_settings
from pipelines.signing import signer_of, trust_of
from tests.bundle_bytes import STRANGER
from tests.cli.test_bad_input import InProcess, assert_one_sentence, inside  # noqa: F401
from tests.registries import AT, files, numbered
from tests.workspace import Workspace

FIRST, SECOND = (str(numbered(number).bundle_id) for number in range(2))
WHERE = ("--registry", "registry")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Two bundles of ours, and one of a machine that nobody here trusts."""
    root = tmp_path_factory.mktemp("registry")
    for number in range(2):
        save_bundle(numbered(number), str(root / f"v{number}"), signer_of(load_settings()))
    child = numbered(3)
    retraining = {"parent": FIRST, "material_sha256": "c" * 64, "seed": 5}
    child = replace(child, report={**child.report, "retraining": retraining})
    save_bundle(child, str(root / "child"), signer_of(load_settings()))
    save_bundle(numbered(2), str(root / "stranger"), Signer(STRANGER))
    return Workspace(root)


def told(finished: Any) -> Any:
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def test_a_bundle_is_published_tried_promoted_and_left(workspace: Workspace, inside: InProcess) -> None:  # noqa: F811
    def run(*arguments: str) -> Any:
        return told(inside(workspace.command(*arguments, *WHERE, "--json")))

    assert [run("publish", each)["bundle_id"] for each in ("v0", "v1", "v1")] == [FIRST, SECOND, SECOND]
    assert run("promote", FIRST[:6], "--reason", "the first")["serving"] == FIRST
    assert run("shadow", SECOND)["shadow"] == SECOND
    assert run("canary", SECOND, "--share", "0.1")["canary"] == 0.1
    assert run("promote", SECOND, "--reason", "better")["before"] == FIRST
    assert load_bundle(f"{workspace.root}/registry/bundles/{SECOND}", load_settings()).bundle_id == SECOND
    left = run("rollback", "--reason", "refuses every cake")
    assert (left["serving"], left["before"], left["epoch"]) == (FIRST, SECOND, 7)

    found = run("bundles", "--picture", "pictures/lineage.svg")
    assert [(each["bundle_id"], each["stage"]) for each in found["bundles"]] == [
        (FIRST, "promoted"), (SECOND, "rolled back")
    ]  # fmt: skip
    assert (found["moves"][-1]["reason"], found["moves"][-1]["replaced"]) == ("refuses every cake", SECOND)
    assert "@" in found["moves"][-1]["who"]
    assert (workspace.root / "pictures/lineage.svg").read_bytes().startswith(b"<?xml")
    shown = inside(workspace.command("bundles", *WHERE)).stderr
    assert "refuses every cake" in shown and f"serving {FIRST} since entry 7" in " ".join(shown.split())


def test_the_registry_is_an_audit_log_whose_end_cannot_be_cut_unseen(
    workspace: Workspace,
    inside: InProcess,  # noqa: F811
) -> None:
    for arguments in (["publish", "v0"], ["publish", "v1"], ["promote", FIRST, "--reason", "go"]):
        assert inside(workspace.command(*arguments, "--registry", "cut")).returncode == 0
    assert told(inside(workspace.command("audit-log", "verify", "cut", "--json")))["violations"] == []
    (workspace.root / "cut/audit/000000003.json").unlink()

    assert inside(workspace.command("audit-log", "verify", "cut")).returncode == 1
    assert_one_sentence(inside(workspace.command("bundles", "--registry", "cut")), "that was noted on this machine")
    (workspace.root / "cut/audit/000000001.json").write_bytes(b"{}")
    assert_one_sentence(inside(workspace.command("bundles", "--registry", "cut")), "E_AUDIT_LOG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["publish", "v0"], "no registry was named"),
        (["publish", "nowhere", *WHERE], "holds no bundle"),
        (["publish", "stranger", *WHERE], "E_ARTIFACT_UNTRUSTED: bundle stranger"),
        (["promote", "zz", "--reason", "go", *WHERE], "E_REGISTRY_UNKNOWN"),
        (["promote", "", "--reason", "go", *WHERE], "E_REGISTRY_UNKNOWN"),
        (["promote", FIRST, "--reason", " ", "--registry", "filled"], "say why"),
        (["canary", FIRST, "--share", "1", "--registry", "filled"], "expected 0 to below 1"),
        (["rollback", "--reason", "back", "--registry", "filled"], "E_REGISTRY_STAGE: no bundle served before"),
        (["rollback", "--reason", "back", "--to", FIRST, "--registry", "filled"], "never served"),
        (["bundles", "--registry", "http://host/registry"], "E_URI_SCHEME"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    workspace: Workspace,
    inside: InProcess,  # noqa: F811
    arguments: list[str],
    message: str,
) -> None:
    assert inside(workspace.command("publish", "v0", "--registry", "filled")).returncode == 0

    assert_one_sentence(inside(workspace.command(*arguments)), message)


def test_a_strangers_bundle_may_be_allowed_and_is_signed_here_once_it_serves(
    workspace: Workspace,
    inside: InProcess,  # noqa: F811
) -> None:
    allowed = ["--allow-unsigned", "--registry", "allowed", "--json"]
    bundle_id = told(inside(workspace.command("publish", "stranger", *allowed)))["bundle_id"]
    promoted = ["promote", bundle_id, "--reason", "I know its maker", "--registry", "allowed"]
    assert inside(workspace.command(*promoted)).returncode == 0

    files = open_registry(str(workspace.root / "allowed")).files(bundle_id)
    assert admit(files, trust_of(load_settings())).epoch == 2


def test_a_registry_that_was_made_anew_at_the_same_place_is_a_new_one(
    workspace: Workspace,
    inside: InProcess,  # noqa: F811
) -> None:
    place = workspace.root / "anew"
    opened = open_registry(str(place))
    for _ in range(2):
        assert inside(workspace.command("publish", "v0", "--registry", "anew")).returncode == 0
        assert inside(workspace.command("promote", FIRST, "--reason", "go", "--registry", "anew")).returncode == 0
        assert opened.state().epoch == 2  # also by one who opened it before that
        shutil.rmtree(place)
        opened = open_registry(str(place))


def test_who_can_only_write_to_the_registry_gets_no_bundle_signed(
    workspace: Workspace,
    inside: InProcess,  # noqa: F811
) -> None:
    """A stranger puts a bundle and a sound entry there: it can be looked at, and neither tried nor promoted."""
    store = FolderStore(workspace.root / "shared")
    assert inside(workspace.command("publish", "v0", "--registry", "shared")).returncode == 0
    strange = Registry(store, lambda: AT, lambda card, epoch: Signer(STRANGER, epoch).signature(card))
    bundle_id = strange.publish(files(7), Published())
    strange.promote(bundle_id, "trust me", "nobody")

    for act in (["shadow", FIRST], ["promote", FIRST, "--reason", "ours again"]):
        assert inside(workspace.command(*act, "--registry", "shared")).returncode == 0
    back = ["rollback", "--reason", "worse", "--registry", "shared"]
    assert_one_sentence(inside(workspace.command(*back)), "E_ARTIFACT_UNTRUSTED")
    assert told(inside(workspace.command("bundles", "--registry", "shared", "--json")))["serving"] == FIRST


def test_what_a_bundle_says_of_its_origin_stands_in_the_registry(
    workspace: Workspace,
    inside: InProcess,  # noqa: F811
) -> None:
    for bundle in ("v0", "child"):
        assert inside(workspace.command("publish", bundle, "--registry", "family")).returncode == 0

    first, child = told(inside(workspace.command("bundles", "--registry", "family", "--json")))["bundles"]
    assert (child["parent"], child["material"], child["seed"]) == (FIRST, "c" * 64, 5)
    assert (first["parent"], first["metrics"]["missed_at_most"]) == (None, 0.05)


def test_an_empty_registry_is_shown_as_one(workspace: Workspace, inside: InProcess) -> None:  # noqa: F811
    found = told(inside(workspace.command("bundles", "--registry", "new", "--picture", "new.svg", "--json")))

    assert (found["number"], found["bundles"], found["serving"]) == (0, [], None)
    assert not Path(workspace.root, "new").exists() and list(FolderStore(workspace.root / "new").keys()) == []
