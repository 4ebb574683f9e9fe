"""Golden rows: what a bundle's probe must say wherever it is loaded."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autosteer_core.bundle import Bundle, to_files
from autosteer_core.bundle_reading import from_files
from autosteer_core.errors import BundleRefused
from autosteer_core.golden_rows import GOLDEN, ROWS, _standard_rows, golden_risks, with_golden
from tests.bundle_bytes import card_with, weights_with
from tests.tiny_bundle import WIDTH, tiny_bundle
from tests.tiny_model import tiny_llava_onevision

FILES = to_files(tiny_bundle(tiny_llava_onevision()))


@pytest.fixture(scope="module")
def golden() -> Bundle:
    return with_golden(from_files(FILES))


def test_a_bundle_with_golden_rows_is_read_again_and_stays_the_same(golden: Bundle) -> None:
    assert from_files(to_files(golden)).bundle_id == golden.bundle_id == with_golden(golden).bundle_id


def test_the_rows_tell_a_probe_that_answers_from_one_that_does_not(golden: Bundle) -> None:
    """Sixteen equal risks would notice little."""
    risks = golden.report[GOLDEN]

    assert len(risks) == ROWS
    assert max(risks) - min(risks) > 0.2


@pytest.mark.parametrize("name", ["inner_weight", "inner_bias", "outer_weight", "outer_bias", "temperature"])
def test_another_tensor_under_the_same_card_is_refused(golden: Bundle, name: str) -> None:
    changed = getattr(golden.probe, name) * 1.5 + 0.25

    with pytest.raises(BundleRefused, match=r"golden row \d+ of the bundle is read as risk") as refused:
        from_files(weights_with(to_files(golden), {f"probe.{name}": changed}))
    assert refused.value.code == "E_ARTIFACT_VALUES"


def test_a_machine_that_leaves_the_mean_or_the_scale_out_is_noticed(golden: Bundle) -> None:
    """The rows follow the mean and scale of their bundle, so it is the arithmetic that they prove, not these two."""
    moved = replace(golden.probe, mean=golden.probe.mean + 3, scale=golden.probe.scale * 2)
    rows_ND = _standard_rows(WIDTH) * moved.scale + moved.mean

    told = golden_risks(moved)

    assert moved.risk(rows_ND).tolist() == pytest.approx(told, abs=1e-5)
    assert max(map(abs, (golden.probe.risk(rows_ND) - torch.tensor(told)).tolist())) > 1e-2


def test_without_golden_rows_the_same_bundle_would_pass(golden: Bundle) -> None:
    """So it is these rows that notice."""
    bare = replace(golden, report={})

    from_files(weights_with(to_files(bare), {"probe.inner_bias": golden.probe.inner_bias + 0.25}))


def test_the_last_digits_of_another_machine_are_no_difference(golden: Bundle) -> None:
    told = [risk + 5e-6 for risk in golden.report[GOLDEN]]

    from_files(card_with(to_files(golden), report=golden.report | {GOLDEN: told}))


@given(st.recursive(st.booleans() | st.floats(-2, 2) | st.text(max_size=3), st.lists, max_leaves=20))
def test_whatever_else_a_card_calls_golden_is_refused(told: object) -> None:
    with pytest.raises(BundleRefused):
        from_files(card_with(FILES, report={GOLDEN: told}))


def test_a_probe_of_any_width_has_rows_of_its_own() -> None:
    wide = _standard_rows(3 * WIDTH)

    assert wide.shape == (ROWS, 3 * WIDTH)
    assert len(torch.unique(wide, dim=0)) == ROWS
    assert -2 <= float(wide.min()) < -1.9 < 1.9 < float(wide.max()) < 2
