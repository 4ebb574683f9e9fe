"""Whose bundles are served, from the command line: keys, sign, --allow-unsigned."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from autosteer_core.bundle_signature import Signer, is_public_key, key_id
from pipelines.bundle_files import load_bundle, save_bundle
from pipelines.settings import load_settings
from tests.bundle_bytes import STRANGER
from tests.cli.test_bad_input import InProcess, assert_one_sentence, inside  # noqa: F401
from tests.workspace import Workspace, make_workspace

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """With a bundle of a machine that nobody here trusts."""
    made = make_workspace(tmp_path_factory.mktemp("trust"), 4)
    bundle = load_bundle(str(made.root / "bundle"), load_settings())
    save_bundle(bundle, str(made.root / "stranger"), Signer(STRANGER))
    save_bundle(bundle, str(made.root / "stranger/controls/random-layer"), Signer(STRANGER))
    return made


def generate(workspace: Workspace, bundle: str, *more: str) -> list[str]:
    """The output is another run's: what is refused next, once the bundle is not."""
    (workspace.root / "taken").mkdir(exist_ok=True)
    (workspace.root / "taken" / "run.json").write_text('{"kind": "audit"}')
    return workspace.generate("taken", "items.parquet", "--bundle", bundle, *more)


def test_a_bundle_from_elsewhere_is_refused_until_it_is_allowed_or_signed_here(
    workspace: Workspace,
    inside: InProcess,  # noqa: F811
) -> None:
    assert_one_sentence(
        inside(generate(workspace, "stranger")), "E_ARTIFACT_UNTRUSTED: bundle stranger: the bundle is"
    )
    for command in ("generate", "audit"):
        allowed = [command, *generate(workspace, "stranger", "--allow-unsigned")[2:]]
        assert_one_sentence(inside(workspace.command(*allowed)), "holds another run")

    signed = inside(workspace.command("sign", "stranger", "--epoch", "3", "--json"))

    assert signed.returncode == 0 and json.loads(signed.stdout)["epoch"] == 3
    assert_one_sentence(inside(generate(workspace, "stranger", "--set", "least_epoch=3")), "holds another run")
    assert_one_sentence(inside(generate(workspace, "stranger", "--set", "least_epoch=4")), "E_ARTIFACT_STALE")
    assert load_bundle(str(Path(workspace.root, "stranger/controls/random-layer")), load_settings(least_epoch=3))


def test_keys_prints_what_other_machines_need(workspace: Workspace, inside: InProcess) -> None:  # noqa: F811
    printed = inside(workspace.command("keys"))

    assert is_public_key(printed.stdout.strip()), printed.stderr
    told = json.loads(inside(workspace.command("keys", "--json")).stdout)
    assert told == {"key": key_id(printed.stdout.strip()), "public": printed.stdout.strip()}


def test_signing_what_is_no_bundle_says_so(workspace: Workspace, inside: InProcess) -> None:  # noqa: F811
    assert_one_sentence(inside(workspace.command("sign", "model")), "holds no bundle")
    assert not (workspace.root / "model" / "signature.json").exists()


def test_what_calibrate_writes_is_served_here_without_a_flag_and_comes_out_the_same_twice(
    workspace: Workspace,
    inside: InProcess,  # noqa: F811
) -> None:
    """The epoch, and so the signature, is no clock: it would make a new bundle of the same items."""
    rows = range(120)
    table = pa.table({
        "id": [str(row) for row in rows],
        "text": [("bomb and poison" if row % 2 else "cake and tea") + f" {row}" for row in rows],
        "label": ["harmful" if row % 2 else "benign" for row in rows],
    })  # fmt: skip
    pq.write_table(table, workspace.root / "labelled.parquet")
    for out in ("one", "two"):
        flags = ["--model", "model", "--alpha", "0.4", "--set", "max_new_tokens=4", "--json"]
        made = inside(workspace.command("calibrate", "labelled.parquet", "--out", out, *flags))
        assert made.returncode == 0, made.stderr

    places = [workspace.root / out for out in ("one", "two", "one/controls/random-layer")]
    assert len({load_bundle(str(place), load_settings()).bundle_id for place in places}) == 2
    for name in ("card.json", "signature.json", "weights.safetensors"):
        assert (workspace.root / "one" / name).read_bytes() == (workspace.root / "two" / name).read_bytes()
