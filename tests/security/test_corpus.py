"""Every kind of bad input gets its code, its place and a sentence; nothing of it is answered, nothing hangs."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from tests.security.case import Case, Level
from tests.security.corpus import CASES

KINDS = 96
MOST_SECONDS = 5.0
MOST_BYTES = 2 * 2**20

pytestmark = pytest.mark.security


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield tmp_path_factory.mktemp("corpus")


@pytest.mark.parametrize("case", CASES, ids=[case.title for case in CASES])
def test_bad_input_is_told_by_its_code_and_its_place(case: Case, written: Path) -> None:
    folder = written / case.title
    folder.mkdir()
    made = case.make(folder, Random(case.title))
    began = time.monotonic()
    found = case.feed(made)

    assert time.monotonic() - began < MOST_SECONDS
    assert (found.level, found.code) == (case.level, case.code), found.said
    assert case.place in f"{found.place} {found.said}"
    assert found.level is Level.FINE or (found.said and "\n" not in found.said and "Traceback" not in found.said)


def test_every_kind_has_a_case_and_the_corpus_stays_small(
    written: Path, report: Callable[[str, object], None]
) -> None:
    """Last in this file, because it counts what the cases wrote."""
    files = [file for file in written.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    kinds = {case.number for case in CASES}
    report("kinds of bad input", f"{len(kinds)} of {KINDS}, {len(CASES)} cases, {len(files)} files, {size:,} bytes")

    assert sorted(kinds) == list(range(1, KINDS + 1))
    assert len(CASES) >= 150
    assert size < MOST_BYTES
