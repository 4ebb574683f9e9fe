"""Reports of hostile names and answers: a page shows them, runs nothing, loads nothing."""

import re
from base64 import b64encode
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest

from autosteer_core.audit_log import Head
from autosteer_core.bundle import Bundle
from autosteer_core.run import Run
from autosteer_core.values import Action, Annotation, Flaw, Label, Verdict
from infra.memory_store import MemoryStore
from pipelines.batch_run import Finished
from pipelines.evaluation_report import evaluation_html
from pipelines.report import report_html
from pipelines.summary import summarise
from tests.security.browser import BROWSER, dom_after
from tests.tiny_bundle import tiny_bundle
from tests.tiny_model import tiny_llava_onevision
from tests.unit.test_evaluation_results import evaluation

MARK = "document.documentElement.dataset.ran='yes'"
ATTACKS = [
    f"<script>{MARK}</script>", f'"><img src=x onerror="{MARK}">', f"</title><script>{MARK}</script>",
    f"</style><script>{MARK}</script>", f"'><svg onload={MARK}>", "{{7*7}}", "{% for x in () %}",
    "{{ self.__init__ }}", f"<a href=\"javascript:{MARK}\">x</a>",
    f"<iframe srcdoc='<script>{MARK}</script>'></iframe>",
    "<style>*{display:none}</style>", "<meta http-equiv=refresh content='0;url=file:///etc/passwd'>",
    "<base href=//example.org>", "<form action=//example.org><input autofocus onfocus=x>", "\u202egnp.exe",
    f"--><script>{MARK}</script>", f"]]><script>{MARK}</script>", "&lt;script&gt;", "\x00\x1b[31m",
    "$\\frac{$", f"${{{MARK}}}",
]  # fmt: skip

pytestmark = pytest.mark.security


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return tiny_bundle(tiny_llava_onevision())


def run_report(bundle: Bundle, attack: str) -> bytes:
    """The attack in every place of a run's report that a manifest, a model or a library can fill."""
    note = Annotation(Label.HARMFUL, attack)
    rows = [
        Verdict(attack, 0, Action.REFUSE, 0.9, attack, annotation=note),
        Verdict("b", 1, Action.ERROR, float("nan"), flaw=Flaw("E_IMAGE_EMPTY", attack, attack)),
    ]
    run = Run("generate", attack, [(attack, 2, "")], attack, {})
    summary = summarise(Finished(run, bundle, MemoryStore(), False, [], rows, Head(2, "0" * 64)))
    return report_html(summary, bundle)


def evaluation_report(bundle: Bundle, attack: str) -> bytes:
    return evaluation_html(evaluation(bundle, attack))


REPORTS = {"run": run_report, "evaluation": evaluation_report}


class Elements(HTMLParser):
    """Names of elements, and attributes that could run or load something."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.active: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.active += [name for name, value in attrs if name.startswith("on") or "script:" in (value or "")]


@cache
def plain_elements(kind: str) -> Elements:
    """What a page of harmless names consists of."""
    return Elements(REPORTS[kind](tiny_bundle(tiny_llava_onevision()), "a name").decode())


@pytest.mark.parametrize("kind", REPORTS)
@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_adds_no_element_and_no_handler_to_the_page(bundle: Bundle, kind: str, attack: str) -> None:
    plain, hostile = plain_elements(kind), Elements(REPORTS[kind](bundle, attack).decode())

    assert hostile.names == plain.names
    assert not hostile.active and "script" not in hostile.names


@pytest.mark.parametrize("kind", REPORTS)
def test_the_policy_allows_the_pages_own_style_and_no_other(bundle: Bundle, kind: str) -> None:
    page = REPORTS[kind](bundle, "a name").decode()
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    [style] = re.findall("<style>(.*?)</style>", page, re.DOTALL)

    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy
    assert f"'sha256-{b64encode(sha256(style.encode()).digest()).decode()}'" in policy
    assert "style=" not in page.replace(style, "")
    assert page.index("Content-Security-Policy") < page.index("<title>")


@pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")
@pytest.mark.parametrize("kind", REPORTS)
def test_a_browser_runs_nothing_in_a_page_of_all_attacks(
    bundle: Bundle, kind: str, tmp_path: Path, report: Callable[[str, object], None]
) -> None:
    dom = dom_after(REPORTS[kind](bundle, " ".join(ATTACKS)), tmp_path)

    ran = dom.count('data-ran="yes"')
    report(f"scripts that ran in the {kind} report", f"{ran} of {len(ATTACKS)} attacks in every place of the page")
    assert "<h1>autosteer" in dom
    assert not ran and "<script" not in dom


@pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")
def test_a_browser_runs_the_script_of_a_page_without_care(bundle: Bundle, tmp_path: Path) -> None:
    """Two controls: unescaped and without a policy the script runs; unescaped under our policy it does not."""
    page = run_report(bundle, "a name").replace(b"</body>", f"<script>{MARK}</script></body>".encode())
    (tmp_path / "guarded").mkdir()
    (tmp_path / "open").mkdir()

    guarded = dom_after(page, tmp_path / "guarded")
    unguarded = dom_after(re.sub(rb"<meta http-equiv[^>]*>", b"", page), tmp_path / "open")

    assert 'data-ran="yes"' in unguarded
    assert 'data-ran="yes"' not in guarded
