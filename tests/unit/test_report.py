"""Summary and report of a finished run."""

from dataclasses import replace

from autosteer_core.audit_log import Head
from autosteer_core.registry import Published
from autosteer_core.run import Run
from autosteer_core.values import Action, Annotation, Flaw, Label, Verdict
from infra.memory_store import MemoryStore
from pipelines.batch_run import Finished
from pipelines.report import report_html
from pipelines.summary import Summary, summarise
from tests.registries import files, registry
from tests.tiny_bundle import tiny_bundle
from tests.tiny_model import tiny_llava_onevision

ATTACK = '"><script>alert(1)</script>{{7*7}}'
NOTE = Annotation(Label.HARMFUL, "text")


def finished() -> Summary:
    rows = [
        Verdict(ATTACK, 0, Action.REFUSE, 0.9, "I'm sorry, but I can't help with that.", annotation=NOTE),
        Verdict("b", 1, Action.ANSWER, 0.2, ATTACK, annotation=NOTE),
        Verdict("c", 2, Action.ERROR, float("nan"), flaw=Flaw("E_IMAGE_EMPTY", ATTACK)),
    ]
    run = Run("generate", "m", [("m", 3, "")], "b", {})
    return summarise(
        Finished(run, tiny_bundle(tiny_llava_onevision()), MemoryStore(), False, [], rows, Head(2, "0" * 64))
    )


def test_the_report_escapes_everything_and_allows_no_script() -> None:
    summary = finished()

    page = report_html(summary, summary.finished.bundle).decode()

    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "{{7*7}}" in page
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page


def test_counts_add_up_to_the_rows_and_name_every_action() -> None:
    summary = finished()

    assert summary.actions == {"answer": 1, "refuse": 1, "review": 0, "error": 1}
    assert sum(summary.actions.values()) == summary.finished.run.rows
    assert summary.errors == {"E_IMAGE_EMPTY": 1}


def test_json_holds_rates_with_their_intervals() -> None:
    [outcome] = finished().as_json()["outcomes"]

    assert (outcome["measure"], outcome["gated"]["events"], outcome["gated"]["trials"]) == ("attack_success", 1, 2)


def test_a_gate_whose_answer_reads_differently_is_counted() -> None:
    summary = finished()
    rows = [replace(next(iter(summary.finished.verdicts)), answer="Here you are.")]

    assert summarise(replace(summary.finished, verdicts=rows)).judges_disagree == 1


def test_a_run_with_a_registry_shows_its_bundles_and_only_then_are_pictures_allowed() -> None:
    summary = finished()
    ours = registry(MemoryStore())
    ours.promote(ours.publish(files(0), Published()), ATTACK, ATTACK)

    without = report_html(summary, summary.finished.bundle).decode()
    page = report_html(summary, summary.finished.bundle, ours.state()).decode()

    assert "img-src" not in without and "<img" not in without
    assert "img-src data:" in page and 'src="data:image/svg+xml;base64,' in page
    assert "bundle promoted" in page and "<script" not in page
