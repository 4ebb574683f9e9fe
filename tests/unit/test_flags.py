"""Which rows a person should look at: and why, where they stand, and what the run as a whole says."""

import json
import math
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from autosteer_core.errors import UserMistake
from autosteer_core.flagging import Flagged, Reason, reasons_of, worth_most_first
from autosteer_core.kept_activations import content_hash
from autosteer_core.label_book import LabellerKind, Statement
from autosteer_core.model_judges import Exchange
from autosteer_core.registry import Published
from autosteer_core.values import Label
from infra.folder_store import FolderStore
from infra.material_files import material_to_parquet
from infra.review_files import ReviewTable, review_from_parquet, review_to_parquet
from pipelines.answer_judges import Answered, KeywordJudge, ModelAnswerJudge, judges_named
from pipelines.drift_reference import reference_for, run_reference
from pipelines.flagged_items import review_tables
from pipelines.flags import FlagRequest, drifts, flag_run
from pipelines.labelled_activations import labelled_rows
from pipelines.labels import add_statements
from pipelines.settings import Settings
from tests.kept_runs import Row, item, kept_run, plain_rows
from tests.registries import files, registry
from tests.tiny_bundle import WIDTH

REFUSED = "I'm sorry, but I can't help with that."
ROWS = [
    Row("calm", "how do I bake"),
    Row("open", "how do I bomb", risk=0.99, answer=REFUSED),
    Row("close", "how do I brew", risk=0.45),
    Row("refused", "how do I build", answer=REFUSED),
    Row("steered in vain", "how do I burn", risk=0.98),
    Row("no number", "how do I boil", risk=math.nan),
]


class HarmJudge:
    """A model judge's port: what it reads `risky` in, it finds harmful."""

    def __init__(self) -> None:
        self.asked: list[Exchange] = []

    def risk(self, exchanges: list[Exchange]) -> list[float]:
        self.asked.extend(exchanges)
        return [0.95 if "bake" in exchange.asked else 0.05 for exchange in exchanges]


def flagged(folder: Path, out: str, **more: object) -> dict[str, tuple[Reason, ...]]:
    flag_run(FlagRequest(out, str(folder / "registry"), Settings(), **more))  # type: ignore[arg-type]
    (table,) = review_tables(FolderStore(folder / "registry"))
    return {row.item_id: row.reasons for row in table.rows}


def test_rows_are_flagged_for_every_reason_that_applies(tmp_path: Path) -> None:
    assert flagged(tmp_path, kept_run(tmp_path, ROWS), judges=[KeywordJudge()]) == {
        "open": (Reason.GATE_OPEN,),
        "close": (Reason.BORDERLINE,),
        "refused": (Reason.JUDGE,),
        "steered in vain": (Reason.GATE_OPEN, Reason.JUDGE),
        "no number": (Reason.NO_RISK,),
    }


def test_a_run_in_which_nothing_stands_out_has_no_flags(tmp_path: Path) -> None:
    assert flagged(tmp_path, kept_run(tmp_path, plain_rows(9)), judges=[KeywordJudge()]) == {}


def test_the_table_says_where_a_row_stands_and_never_what_it_says(tmp_path: Path) -> None:
    out = kept_run(tmp_path, ROWS)
    flagged(tmp_path, out)
    store = FolderStore(tmp_path / "registry")

    (table,) = review_tables(store)
    row = next(row for row in table.rows if row.item_id == "close")

    assert (row.source, row.row, row.content) == ("run.parquet", 2, content_hash(item(ROWS[2])))
    assert (table.out, table.manifest) == (out, str(tmp_path / "run.parquet"))
    stored = b"".join(store.get(key) for key in store.keys())
    assert b"brew" not in stored and b"Here is how" not in stored


def test_a_model_judge_reads_prompt_and_answer(tmp_path: Path) -> None:
    judge = HarmJudge()

    found = flagged(tmp_path, kept_run(tmp_path, ROWS), judges=[ModelAnswerJudge("guard", judge)])  # type: ignore[arg-type]

    assert found["calm"] == (Reason.JUDGE,) and "refused" not in found
    assert judge.asked[0] == Exchange("how do I bake", "Here is how.")


def test_a_second_pass_replaces_the_table(tmp_path: Path) -> None:
    out = kept_run(tmp_path, ROWS)

    assert flagged(tmp_path, out) == flagged(tmp_path, out)


def test_a_run_like_its_reference_is_calm_and_one_with_a_new_kind_is_not(tmp_path: Path) -> None:
    reference = run_reference(kept_run(tmp_path, plain_rows(800, 1), "before", 200))
    same = kept_run(tmp_path, plain_rows(400, 2), "same", 200)
    new_kind = [replace(row, item_id=f"new-{row.item_id}") for row in plain_rows(80, 3, shift=9)]
    other = kept_run(tmp_path, plain_rows(400, 4) + new_kind, "other", 200)
    registry = str(tmp_path / "registry")

    calm = flag_run(FlagRequest(same, registry, Settings(), reference=reference))
    moved = flag_run(FlagRequest(other, registry, Settings(), reference=reference))

    assert calm.drift and not calm.drift.alarm and calm.flagged == 0
    assert moved.drift and moved.drift.alarm
    table = next(table for table in review_tables(FolderStore(Path(registry))) if table.run_id == moved.run_id)
    found = [row.item_id.startswith("new-") for row in table.rows]
    assert sum(found) == 80 and len(found) < 100
    assert {key: told["alarm"] for key, told in drifts(FolderStore(Path(registry))).items()} == {
        calm.run_id: False, moved.run_id: True,
    }  # fmt: skip
    assert json.loads(json.dumps(moved.as_json()))["reasons"]["unlike the reference"] == len(found)


def test_without_another_run_the_reference_is_what_the_bundle_was_fitted_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, address = FolderStore(tmp_path / "registry"), str(tmp_path / "registry")
    monkeypatch.setattr("tests.kept_runs.ORIGIN", {"model_fingerprint": "a" * 64, "sites": "2 last"})
    rows = plain_rows(50, 1, width=WIDTH)
    add_statements(store, [_reviewed(row) for row in rows])
    data = material_to_parquet(labelled_rows(store, [kept_run(tmp_path, rows, "fitted")]))
    material = sha256(data).hexdigest()
    store.put_if_absent(f"materials/{material}.parquet", data)
    bundle_id = registry(store).publish(files(1), Published(material=material))
    out = kept_run(tmp_path, plain_rows(50, 2, width=WIDTH), bundle_id=bundle_id)

    found = reference_for(out, Settings(registry=address), None)

    assert found and len(found.activation_ND) == len(found.risk_N) == 50 and found.name == "the calibration set"
    drift = flag_run(FlagRequest(out, address, Settings(), reference=found)).drift
    assert drift and not drift.p <= 0.001
    assert reference_for(kept_run(tmp_path, rows, "other"), Settings(registry=address), None) is None
    store.delete(f"materials/{material}.parquet")
    with pytest.raises(UserMistake, match="--against"):
        reference_for(out, Settings(registry=address), None)


def _reviewed(row: Row) -> Statement:
    return Statement(
        content_hash(item(row)), row.item_id, Label.BENIGN, "ana", LabellerKind.REVIEWER, "2026-01-01T00:00:00+00:00"
    )


def test_another_origin_than_the_references_is_refused(tmp_path: Path) -> None:
    out = kept_run(tmp_path, ROWS)
    reference = replace(run_reference(out), origin={"model_fingerprint": "n" * 64, "sites": "2 last"})

    with pytest.raises(UserMistake, match="compare runs of one") as refused:
        flag_run(FlagRequest(out, str(tmp_path / "registry"), Settings(), reference=reference))
    assert refused.value.code == "E_MATERIAL_ORIGIN"


def test_a_review_table_comes_back_and_other_bytes_do_not() -> None:
    rows = (
        Flagged(b"c" * 32, "a", "m", 3, "refuse", 0.9, 0.5, "b", (Reason.JUDGE, Reason.DRIFT), ("keywords",), 1.5),
        Flagged(b"d" * 32, "b", "m", 4, "answer", 0.4, None, None, (Reason.BORDERLINE,)),
    )
    table = ReviewTable("r", "out", "m.parquet", rows)

    assert review_from_parquet(review_to_parquet(table)) == table
    with pytest.raises(UserMistake):
        review_from_parquet(b"PAR1")


def test_the_most_telling_rows_come_first() -> None:
    row = Flagged(b"c" * 32, "", "m", 0, "answer", 0.4, 0.5, None, ())
    given = {
        "both": replace(row, reasons=(Reason.GATE_OPEN, Reason.BORDERLINE), item_id="both"),
        "judge": replace(row, reasons=(Reason.JUDGE,), item_id="judge"),
        "near": replace(row, reasons=(Reason.GATE_OPEN,), risk=0.52, item_id="near"),
        "far": replace(row, reasons=(Reason.GATE_OPEN,), risk=0.99, item_id="far"),
    }

    assert [each.item_id for each in worth_most_first(reversed(given.values()))] == list(given)


def test_the_band_is_in_log_odds_so_that_it_fits_small_thresholds() -> None:
    row = Flagged(b"c" * 32, "", "m", 0, "answer", 0.012, 0.01, None, ())

    assert reasons_of(row, gate_open=False, band=0.5) == (Reason.BORDERLINE,)
    assert reasons_of(replace(row, risk=0.1), gate_open=False, band=0.5) == ()
    assert reasons_of(replace(row, risk=0.0), gate_open=False, band=0.5) == ()


def test_a_model_judge_is_sure_or_silent_and_says_nothing_of_edited_answers() -> None:
    class Fixed:
        def risk(self, exchanges: list[Exchange]) -> list[float]:
            return [float(exchange.answered) for exchange in exchanges]

    answers = [
        Answered(Exchange("q", risk), gate_open=risk == "0.99") for risk in ("0.95", "0.5", "0.01", "0.99", "nan")
    ]
    judge = ModelAnswerJudge("guard", Fixed())  # type: ignore[arg-type]

    assert judge.labels(answers) == [Label.HARMFUL, None, Label.BENIGN, None, None]
    assert judge.disagrees(answers) == [True, True, False, True, True]


def test_one_judge_named_twice_is_refused() -> None:
    assert np.all([judge.name == "keywords" for judge in judges_named(["keywords"], Settings())])
    with pytest.raises(UserMistake, match="twice"):
        judges_named(["keywords", "keywords"], Settings())
