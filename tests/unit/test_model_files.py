"""Model folders: honest ones pass, what reaches for code is stopped before and by the sandbox."""

from pathlib import Path

import pytest

from autosteer_core.errors import UserMistake
from pipelines.hub_judges import load_judge
from pipelines.load_model import load_model
from pipelines.model_files import refuse_code
from pipelines.settings import Settings
from tests.tiny_model import TEMPLATE, save_tiny_model

LOOPS = (
    "{% for a in range(3) %}{{ a }}{% endfor %}{% for m in messages %}{% for b in range(3) %}{% endfor %}{% endfor %}"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / "model")


def code_of(folder: Path) -> str:
    with pytest.raises(UserMistake) as refused:
        load_model(str(folder), Settings())
    assert "\n" not in str(refused.value)
    return refused.value.code


def test_an_honest_folder_passes(folder: Path) -> None:
    refuse_code(str(folder))

    assert load_model(str(folder), Settings()).fingerprint


def test_a_name_that_is_on_no_disk_passes_for_now() -> None:
    refuse_code("nobody/has-this-model")
    refuse_code("/no/such/folder")


def test_a_hub_model_is_looked_through_where_its_snapshot_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The layout of the hub's cache: a reference names a snapshot, whose files are links to blobs."""
    root = tmp_path / "models--some--model"
    snapshot = root / "snapshots" / ("c" * 40)
    snapshot.mkdir(parents=True)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("c" * 40)
    (root / "blobs").mkdir()
    (root / "blobs" / "b").write_text('{"auto_map": {"AutoConfig": "evil.C"}}')
    (snapshot / "config.json").symlink_to(root / "blobs" / "b")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    with pytest.raises(UserMistake, match="auto_map") as refused:
        refuse_code("some/model")
    assert refused.value.code == "E_REMOTE_CODE"


@pytest.mark.parametrize(
    "trick",
    [
        "{{ ''['_' ~ '_class_' ~ '_'].x }}",
        "{{ (messages|attr('_' ~ '_class_' ~ '_')).x }}",
        "{{ cycler['_' ~ '_init_' ~ '_']['_' ~ '_globals_' ~ '_']['os'].system('touch MARKER') }}",
        "{{ messages.append(1) }}",
    ],
)
def test_what_hides_from_the_look_is_stopped_by_the_sandbox(
    folder: Path, trick: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (folder / "chat_template.jinja").write_text(trick + TEMPLATE)

    assert code_of(folder) == "E_REMOTE_CODE"
    assert not (tmp_path / "MARKER").exists()


@pytest.mark.parametrize("template", ["{{ 1 / 0 }}", "{{ range(10 ** 9) }}", "{{ messages[9].x.y }}", "{{ {}.a.b }}"])
def test_a_template_that_fails_is_one_sentence(folder: Path, template: str) -> None:
    (folder / "chat_template.jinja").write_text(template + TEMPLATE)

    with pytest.raises(UserMistake, match="has no usable chat template"):
        load_model(str(folder), Settings())


@pytest.mark.parametrize("template", ["{% for", "____ {{ '____' }}" + TEMPLATE, LOOPS])
def test_a_template_that_is_only_odd_is_not_taken_for_code(folder: Path, template: str) -> None:
    (folder / "chat_template.jinja").write_text(template)

    refuse_code(str(folder))


def test_pickles_beside_safetensors_are_left_alone(folder: Path) -> None:
    """They are never read: `use_safetensors` is always set."""
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04N.")

    refuse_code(str(folder))


def test_a_judge_that_brings_code_is_refused_too(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"auto_map": {"AutoConfig": "evil.C"}}')

    with pytest.raises(UserMistake, match="auto_map") as refused:
        load_judge(f"{tmp_path}@unsafe", Settings())
    assert refused.value.code == "E_REMOTE_CODE"
