"""A sampled answer belongs to its item: no neighbour, slot, part or retry changes it."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autosteer_core.commit import read_part, seal
from autosteer_core.engine import EngineOptions
from autosteer_core.errors import TryAgain
from autosteer_core.run import Run
from autosteer_core.sampling import Sampling
from autosteer_core.slot_engine import SlotEngine
from autosteer_core.values import Item, Verdict
from infra.column_map import ColumnMap
from infra.memory_queue import MemoryQueue
from infra.open_store import open_store
from infra.verdict_files import verdicts_from_parquet
from pipelines.bundle_files import BundleReader
from pipelines.job import Job
from pipelines.reading import open_items
from pipelines.settings import load_settings
from pipelines.signing import trust_of
from pipelines.wiring import build_worker
from tests.doubles import FakeClock
from tests.tiny_bundle import tiny_bundle
from tests.tiny_items import mixed_items
from tests.tiny_model import tiny_llava_onevision
from tests.workspace import Workspace, make_workspace
from workers.loop import Judge

ITEMS = mixed_items(9)
BACKBONE = tiny_llava_onevision()
BUNDLE = tiny_bundle(BACKBONE)


def answers(order: list[int], slots: int = 3, seed: int = 5) -> dict[str, tuple[str | None, str | None]]:
    sampling = Sampling(1.2, top_p=0.9, top_k=50, run_seed=seed)
    engine = SlotEngine(BACKBONE, BUNDLE, EngineOptions(max_new_tokens=8, slots=slots, sampling=sampling))
    return {
        row.item_id: (row.answer, row.finish_reason) for row in engine.generate([ITEMS[place] for place in order])
    }


TOGETHER = answers(list(range(9)))


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(0, 8), min_size=1, unique=True), st.integers(1, 6))
def test_a_sampled_answer_does_not_depend_on_who_is_answered_beside_it(order: list[int], slots: int) -> None:
    assert answers(order, slots).items() <= TOGETHER.items()


def test_another_seed_of_the_run_draws_other_answers() -> None:
    assert answers(list(range(9)), seed=6) != TOGETHER
    assert len(set(TOGETHER.values())) > 4


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return make_workspace(tmp_path_factory.mktemp("work"), 8)


def written(workspace: Workspace, out: str, failures: int = 0, workers: int = 1, **changes: object) -> list[Verdict]:
    """The rows that workers commit, all but the last one part at most; the first `failures` judgements are lost."""
    root = workspace.root
    chosen = load_settings(
        model=str(root / "model"),
        bundle=str(root / "bundle"),
        max_new_tokens=8,
        temperature=1.2,
        top_p=0.95,
        **changes,
    )
    manifest = open_items(str(root / "items.parquet"))
    job = Job(
        "generate", str(root / "items.parquet"), str(root / out), chosen, ColumnMap(), False,
        {"model_fingerprint": "m"}, 1,
        bundles=BundleReader(trust_of(chosen)),
    )  # fmt: skip
    parts = Run("generate", job.manifest, manifest.files(), "b", job.answer_settings).parts(chosen.rows_per_part)
    queue, left = MemoryQueue(FakeClock()), [TryAgain("lost")] * failures
    queue.add(parts)

    def failing(judge: Judge) -> Judge:
        def judged(items: Sequence[Item]) -> list[Verdict]:
            rows = judge(items)
            if left:
                raise left.pop()
            return rows

        return judged

    made = [build_worker(job, f"w{number}", queue) for number in range(workers)]
    crew = [replace(worker, judge=failing(worker.judge)) for worker in made]
    store = open_store(job.out)
    for worker in crew[:-1]:
        worker.run(lambda: any(True for _ in store.keys("commits/")))
    crew[-1].run(lambda: False)
    return [
        row
        for record in seal(store, parts, manifest.row_ids())
        for row in verdicts_from_parquet(read_part(store, record))
    ]


def test_parts_workers_and_retries_change_no_sampled_answer(workspace: Workspace) -> None:
    whole = written(workspace, "whole", rows_per_part=8, slots=4)

    in_parts = written(workspace, "parts", rows_per_part=3, slots=2, workers=2, failures=2)

    assert [(row.item_id, row.answer) for row in in_parts] == [(row.item_id, row.answer) for row in whole]
    assert [row.answer for row in written(workspace, "other", rows_per_part=8, slots=4, seed=1)] != [
        row.answer for row in whole
    ]


def test_what_determines_drawn_answers_is_part_of_a_runs_identity() -> None:
    def identity(**changes: object) -> dict[str, object]:
        return Job("generate", "", "", load_settings(**changes), ColumnMap(), False, {}, 1).answer_settings

    drawn = identity(temperature=1.0)
    others = [{"temperature": 0.5}, {"top_p": 0.5}, {"top_k": 3}, {"seed": 1}, {"stop": "x"}, {"logprobs": True}]
    for change in others:
        assert identity(**{"temperature": 1.0} | change) != drawn
    assert identity(seed=1) == identity()
