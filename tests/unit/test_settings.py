"""Settings from flags, environment and file."""

from pathlib import Path

import pytest

from autosteer_core.errors import UserMistake
from pipelines.settings import load_settings


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("workers = 3\nbatch_rows = 3\nmax_new_tokens = 3\n")
    monkeypatch.setenv("AUTOSTEER_WORKERS", "4")
    monkeypatch.setenv("AUTOSTEER_BATCH_ROWS", "4")

    settings = load_settings(file, workers=5)

    assert (settings.workers, settings.batch_rows, settings.max_new_tokens, settings.lease_seconds) == (5, 4, 3, 300)


def test_yaml_is_read_too(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("workers: 7\n")

    assert load_settings(file).workers == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("worker = 3", "unknown setting `worker` in .*expected one of .*workers"),
        ("workers = 0", "setting `workers` is 0: .*greater than or equal to 1"),
        ("workers = ", "is not valid TOML or YAML"),
        ("alpha = nan", "setting `alpha`"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(text)

    with pytest.raises(UserMistake, match=message):
        load_settings(file)


def test_a_yaml_tag_that_would_run_code_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("workers: !!python/object/apply:os.system ['touch marker']\n")

    with pytest.raises(UserMistake, match="not valid"):
        load_settings(file)


@pytest.mark.parametrize(
    ("given", "expected"),
    [("END", ("END",)), ('["\\n\\n", "[END]"]', ("\n\n", "[END]")), ("[]", ()), (["a"], ("a",))],
)
def test_stop_strings_are_one_text_or_a_json_list(
    given: str | list[str], expected: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_settings(stop=given).stop == expected
    if isinstance(given, str):
        monkeypatch.setenv("AUTOSTEER_STOP", given)
        assert load_settings().stop == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"top_p": 0.5}, "^top_p and top_k need a temperature"),
        ({"top_k": 5}, "^top_p and top_k need a temperature"),
        ({"temperature": 1, "engine": "static"}, "^engine=static takes the likeliest token"),
        ({"temperature": 0}, "setting `temperature` is 0: .*greater than or equal to 0.01"),
        ({"temperature": "nan"}, "setting `temperature` is 'nan'"),
        ({"stop": ""}, "setting `stop.0` is ''"),
        ({"stop": "[END]"}, "setting `stop` is .*must stand in a JSON list"),
        ({"stop": "[1]"}, "setting `stop.0` is 1"),
    ],
)
def test_settings_of_decoding_that_make_no_sense_are_one_sentence(given: dict[str, object], message: str) -> None:
    with pytest.raises(UserMistake, match=message):
        load_settings(**given)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(UserMistake, match=r"settings file nowhere.toml cannot be read"):
        load_settings(Path("nowhere.toml"))


def test_a_misspelt_environment_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOSTEER_WORKRES", "4")

    with pytest.raises(UserMistake, match="AUTOSTEER_WORKRES is no setting"):
        load_settings()
