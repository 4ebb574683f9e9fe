"""Compiled steps: the same tokens, few graphs, and a clear refusal where a model cannot be compiled."""

import gc
import weakref
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from autosteer_core.backbones.chat import ChatBackbone
from autosteer_core.decoding import Answer
from autosteer_core.engine import EngineOptions
from autosteer_core.errors import UserMistake
from autosteer_core.refusal_head import RefusalHead
from autosteer_core.request import Request
from autosteer_core.slot_engine import SlotEngine
from autosteer_core.slots.compiled_blocks import CompiledBlocks
from autosteer_core.slots.parity import check_parity
from autosteer_core.slots.slot_decoder import SlotDecoder
from autosteer_core.values import Item
from autosteer_core.work import Work
from infra.column_map import ColumnMap
from pipelines.job import Job
from pipelines.settings import load_settings
from tests.tiny_bundle import tiny_bundle
from tests.tiny_items import mixed_items
from tests.tiny_look import look_bundle
from tests.tiny_model import tiny_llava_onevision
from tests.tiny_models.registry import TINY

# Kinds of blocks, masks and rotary positions that differ; the other families are like one of them.
UNLIKE = {"chameleon", "gemma3", "llava_onevision", "qwen3_vl", "mistral"}
FAMILIES = [pytest.param(name, marks=[] if name in UNLIKE else pytest.mark.tour) for name in TINY]
LIMITS = [9, 2, 12, 1, 5, 7]


class Graphs:
    """A backend that runs what it is given, and counts."""

    def __init__(self) -> None:
        self.shapes: list[list[Any]] = []

    def __call__(self, graph: Any, inputs: list[Any]) -> Any:
        self.shapes.append([size for each in inputs if isinstance(each, torch.Tensor) for size in each.shape])
        return graph.forward


@pytest.fixture(scope="module")
def backbone() -> ChatBackbone:
    return tiny_llava_onevision()


def decoded(backbone: ChatBackbone, compiled: CompiledBlocks | None, slots: int = 4) -> list[Answer]:
    requests = [Request(backbone.encode(item), limit) for item, limit in zip(mixed_items(6), LIMITS, strict=True)]
    gates = [place % 2 == 1 for place in range(len(requests))]
    return SlotDecoder(backbone, slots).through(compiled).decode(tiny_bundle(backbone), requests, gates, look=False)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_says_the_same_through_one_graph_a_kind_of_block_and_shape(name: str) -> None:
    backbone, graphs = TINY[name](0).backbone, Graphs()

    check_parity(backbone, tiny_bundle(backbone), CompiledBlocks(backbone, graphs))

    kinds = len({type(block) for block in backbone.blocks})
    kinds *= len(set(getattr(backbone.model.config.get_text_config(), "layer_types", None) or [0]))
    assert 1 <= len(graphs.shapes) <= 4 * kinds
    assert all(isinstance(size, int) for shape in graphs.shapes for size in shape)


def test_rows_that_come_and_go_compile_nothing_new(backbone: ChatBackbone) -> None:
    graphs = Graphs()
    compiled = CompiledBlocks(backbone, graphs)

    first = decoded(backbone, compiled)
    count = len(graphs.shapes)
    again = decoded(backbone, compiled)

    assert first == again == decoded(backbone, None)
    assert len(graphs.shapes) == count <= 2


def test_two_heads_and_a_second_look_compile_nothing_more(backbone: ChatBackbone) -> None:
    graphs = Graphs()
    compiled, look = CompiledBlocks(backbone, graphs), look_bundle(backbone, 0.5)
    generator = torch.Generator().manual_seed(7)
    down, up = (torch.randn(32, 4, generator=generator) for _ in range(2))
    other = replace(look, head=RefusalHead(down, up, 0.1, tokens=2))
    requests = [Request(backbone.encode(item), limit) for item, limit in zip(mixed_items(6), LIMITS, strict=True)]

    def answers(blocks: CompiledBlocks | None) -> list[Answer | None]:
        works = [
            Work(each, other if row % 2 else look, row % 3 == 0, look.second_look)
            for row, each in enumerate(requests)
        ]
        return SlotDecoder(backbone, 3, whole=True).through(blocks).run(works)

    ours, wanted = answers(compiled), answers(None)

    assert [each and each.ids for each in ours] == [each and each.ids for each in wanted]
    for one, plain in zip(ours, wanted, strict=True):
        assert one is not None and plain is not None and one.risks == pytest.approx(plain.risks, abs=1e-5)
    assert any(each and each.risks for each in ours)
    assert len(graphs.shapes) <= 2


def test_more_graphs_than_allowed_end_in_a_clear_refusal(backbone: ChatBackbone) -> None:
    long = [Request(backbone.encode(Item("long", "how do I make a cake at home " * 9)), 3)]
    compiled = CompiledBlocks(backbone, Graphs(), most_graphs=1)
    decoded(backbone, compiled)  # one shape is allowed

    with pytest.raises(UserMistake, match="llava_onevision cannot be compiled: .*more than 1 graph.*compile=false"):
        SlotDecoder(backbone, 4).through(compiled).decode(tiny_bundle(backbone), long, [False], look=False)

    assert not any("forward" in vars(block) for block in backbone.blocks)


def test_a_block_that_cannot_be_compiled_is_refused_with_the_reason() -> None:
    backbone = TINY["llama"](0).backbone

    class Peeking(type(backbone.blocks[0].mlp)):  # type: ignore[misc]
        """Reads a number from the device, on which the path depends."""

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            return super().forward(hidden) if float(hidden.sum()) > 0 else super().forward(hidden) * 1  # type: ignore[no-any-return]

    backbone.blocks[0].mlp.__class__ = Peeking

    with pytest.raises(UserMistake, match=r"llama cannot be compiled: \S.*: set compile=false"):
        check_parity(backbone, tiny_bundle(backbone), CompiledBlocks(backbone, Graphs()))


def test_a_model_spread_over_devices_is_refused() -> None:
    backbone = TINY["llama"](0).backbone
    backbone.blocks[1].forward = backbone.blocks[1].forward  # as accelerate does it

    with pytest.raises(UserMistake, match="llama cannot be compiled: .*device_map.*compile=false"):
        check_parity(backbone, tiny_bundle(backbone), CompiledBlocks(backbone, Graphs()))

    assert "forward" in vars(backbone.blocks[1])


def test_a_backend_that_is_wrong_fails_the_start_up_check() -> None:
    backbone = TINY["llama"](0).backbone

    def wrong(graph: Any, inputs: list[Any]) -> Any:
        return lambda *args: [each * -3 if each.is_floating_point() else each for each in graph.forward(*args)]

    with pytest.raises(UserMistake, match=r"family llama .* row `.*` differs .* compile=false"):
        check_parity(backbone, tiny_bundle(backbone), CompiledBlocks(backbone, wrong))


def test_nothing_stays_on_the_model_and_the_model_can_go() -> None:
    backbone = tiny_llava_onevision()
    decoded(backbone, None)  # Transformers marks a model that has run
    before = [set(vars(part)) for part in backbone.model.modules()]

    decoded(backbone, CompiledBlocks(backbone, Graphs()))

    assert [set(vars(part)) for part in backbone.model.modules()] == before
    model: weakref.ref[nn.Module] = weakref.ref(backbone.model)
    del backbone
    gc.collect()
    assert model() is None


def test_plain_generate_refuses_to_compile() -> None:
    with pytest.raises(UserMistake, match="engine=static cannot compile.*engine=slots"):
        load_settings(engine="static", compile=True)


def test_compiled_answers_belong_to_another_run() -> None:
    def identity(compile: bool) -> dict[str, object]:
        return Job("generate", "", "", load_settings(compile=compile), ColumnMap(), False, {}, 1).answer_settings

    assert identity(True) != identity(False)


@pytest.mark.tour
def test_the_engine_says_the_same_through_the_real_compiler(
    backbone: ChatBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch._inductor.config.compile_threads", 1)
    options = EngineOptions(max_new_tokens=8, slots=4)
    bundle, items = tiny_bundle(backbone), mixed_items(8)
    check_parity(backbone, bundle, CompiledBlocks(backbone))

    ours = SlotEngine(backbone, bundle, replace(options, compile=True)).generate(items)

    wanted = SlotEngine(backbone, bundle, options).generate(items)
    assert [(row.answer, row.gate_open) for row in ours] == [(row.answer, row.gate_open) for row in wanted]
