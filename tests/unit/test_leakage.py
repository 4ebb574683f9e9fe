"""What calibration has seen is found in an evaluation, and nothing else is."""

import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from autosteer_core.leakage import TEMPLATE_ROWS, LeakReason, find_leakage
from autosteer_core.text_overlap import NEAR, normalised, shingles, text_matches
from autosteer_core.values import Annotation, Item
from tests.pictures import png

WORDS = st.lists(st.text("abcdefghijklmnop", min_size=3, max_size=8), min_size=1, max_size=12)


def item(item_id: str, text: str, *images: bytes, group: str = "g") -> Item:
    return Item(item_id, text, images, annotation=Annotation(group=group))


def encoded(picture: Image.Image, form: str = "PNG", **options: int) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def scene(seed: int, side: int = 96) -> Image.Image:
    """Blobs of grey: smooth, as photographs are, and different for every seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def page(text: str) -> bytes:
    picture = Image.new("RGB", (200, 200), "white")
    ImageDraw.Draw(picture).text((10, 10), text, "black", font_size=24)
    return encoded(picture)


@given(WORDS, st.sampled_from([" ", "  ", "\n", "\t ", ", "]))
def test_a_text_leaks_whatever_its_case_spaces_and_punctuation(words: list[str], between: str) -> None:
    found = find_leakage([item("c", " ".join(words))], [item("e", between.join(words).upper() + "?")])

    assert [(leak.item_id, leak.calibration_id, leak.reason) for leak in found.leaks] == [
        ("e", "c", LeakReason.EXACT_TEXT)
    ]


@given(st.lists(WORDS, max_size=6), st.lists(WORDS, max_size=6))
def test_texts_of_different_letters_do_not_leak(known: list[list[str]], asked: list[list[str]]) -> None:
    other = str.maketrans("abcdefghijklmnop", "qrstuvwxyzQRSTUV")
    asked_items = [item(f"e{n}", f"{n}".join(words).translate(other)) for n, words in enumerate(asked)]

    found = find_leakage([item(f"c{n}", " ".join(words)) for n, words in enumerate(known)], asked_items)

    assert not found.leaks


@given(st.lists(st.text("ab ", max_size=14), max_size=12), st.lists(st.text("ab ", max_size=14), max_size=12))
def test_prefix_filtering_finds_what_comparing_all_with_all_finds(left: list[str], right: list[str]) -> None:
    left, right = list(map(normalised, left)), list(map(normalised, right))

    def best(text: str) -> float:
        pairs = ((shingles(text), shingles(other)) for other in right if other)
        return max((len(one & two) / len(one | two) for one, two in pairs), default=0.0)

    expected = {number for number, text in enumerate(left) if text and best(text) >= NEAR}
    assert {match.left for match in text_matches(left, right)} == expected


def test_a_reworded_question_is_near_text_and_the_most_similar_row_is_named() -> None:
    known = [
        item("far", "how to train a large dog"),
        item("near", "how to train the large horses to jump over a fence"),
    ]

    (leak,) = find_leakage(known, [item("e", "How to train these large horses to jump over the fence?")]).leaks

    assert (leak.reason, leak.calibration_id) == (LeakReason.NEAR_TEXT, "near")
    assert NEAR <= leak.similarity < 1


def test_the_same_words_about_another_thing_do_not_leak() -> None:
    assert not find_leakage([item("c", "how to bake bread")], [item("e", "how to forge a passport")]).leaks


def test_twins_within_the_calibration_set_are_not_leakage() -> None:
    twins = [item("c1", "how to use this jar"), item("c2", "how to use this jar")]

    assert not find_leakage(twins, [item("e", "name three rivers in africa")]).leaks


def test_a_text_of_signs_alone_is_compared_too() -> None:
    assert find_leakage([item("c", "💣 ?")], [item("e", "💣?")]).leaks
    assert not find_leakage([item("c", "💣")], [item("e", "🍕")]).leaks


def test_equal_bytes_are_the_same_picture_under_any_text() -> None:
    (leak,) = find_leakage([item("c", "one thing", png())], [item("e", "quite another", png())]).leaks

    assert (leak.reason, leak.similarity) == (LeakReason.SAME_PICTURE, 1.0)


def test_a_picture_made_smaller_and_compressed_is_similar() -> None:
    known = [item("c0", "", encoded(scene(0))), item("c1", "", encoded(scene(1)))]
    again = encoded(scene(1).resize((64, 64)), "JPEG", quality=60)

    (leak,) = find_leakage(known, [item("e", "", again)]).leaks

    assert (leak.reason, leak.calibration_id) == (LeakReason.SIMILAR_PICTURE, "c1")


def test_different_scenes_pages_and_plain_colours_are_not_similar() -> None:
    known = [item(f"c{n}", "", encoded(scene(n))) for n in range(20)]
    known += [item("page", "", page("steps to bake\nbread at home\n1.\n2.")), item("flat", "", png("red"))]
    asked = [item(f"e{n}", "", encoded(scene(n + 100))) for n in range(20)]
    asked += [item("other", "", page("steps to plant\na small garden\n1.\n2.")), item("blue", "", png("blue"))]

    assert not find_leakage(known, asked).leaks


def test_a_broken_picture_is_compared_by_its_bytes() -> None:
    found = find_leakage([item("c", "", b"broken")], [item("same", "", b"broken"), item("other", "", b"broken too")])

    assert found.item_ids == {"same"}


def test_one_prompt_beside_many_pictures_is_a_template_where_the_picture_decides() -> None:
    known = [item("c", "describe this picture", encoded(scene(0)))]
    asked = [item(f"e{n}", "describe this picture", encoded(scene(n))) for n in range(TEMPLATE_ROWS)]

    assert [leak.reason for leak in find_leakage(known, asked).leaks] == [LeakReason.SAME_PICTURE]
    assert len(find_leakage(known, asked[1:4]).item_ids) == 3


def test_counts_are_per_group_and_a_row_with_two_reasons_is_one_leaked_row() -> None:
    asked = [
        item("a", "hello there", png(), group="one"),
        item("b", "so long", group="one"),
        item("d", "x", group="two"),
    ]

    found = find_leakage([item("c", "hello there", png())], asked)

    assert found.counts() == {
        "one": {"rows": 2, "leaked": 1, "exact text": 1, "same picture": 1},
        "two": {"rows": 1, "leaked": 0},
    }
