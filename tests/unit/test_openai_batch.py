"""OpenAI-batch requests: what becomes an item, and what is refused rather than flattened."""

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autosteer_core.values import Item, Part, PartId
from infra.column_map import ColumnMap
from infra.open_manifest import open_manifest

PNG = b"\x89PNG of some picture"
DATA = {
    "type": "image_url",
    "image_url": {"url": f"data:image/png;base64,{b64encode(PNG).decode()}", "detail": "low"},
}
HELLO = {"type": "text", "text": "hello"}


def user(content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


def request(body: Any, **more: Any) -> dict[str, Any]:
    return {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body} | more


def read(folder: Path, *rows: Any, columns: ColumnMap | None = None) -> list[Item]:
    path = folder / "requests.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    manifest = open_manifest(str(path), columns)
    ((name, count, _),) = manifest.files()
    return list(manifest.items(Part(PartId("p"), name, 0, count)))


@pytest.mark.parametrize(
    ("content", "text", "images"),
    [
        ("hello", "hello", ()),
        ([HELLO], "hello", ()),
        ([HELLO, DATA], "hello", (PNG,)),
        ([DATA, DATA, HELLO], "hello", (PNG, PNG)),
        ([DATA, HELLO, HELLO, DATA], "hellohello", (PNG, PNG)),
        ([DATA], "", (PNG,)),
        ([{"type": "image_url", "image_url": "beside.png"}], "", (PNG,)),
        ([{"type": "image_url", "image_url": {"url": "beside.png"}}], "", (PNG,)),
    ],
)
def test_one_user_turn_becomes_an_item(tmp_path: Path, content: Any, text: str, images: tuple[bytes, ...]) -> None:
    (tmp_path / "beside.png").write_bytes(PNG)
    assert read(tmp_path, request(user(content))) == [Item("a", text, images)]


@pytest.mark.parametrize(
    ("more", "limit"),
    [
        ({}, None),
        ({"max_tokens": 7}, 7),
        ({"max_completion_tokens": 9, "max_tokens": None}, 9),
        ({"max_completion_tokens": 9, "max_tokens": 7}, 7),
        ({"model": "m", "temperature": 1.5, "n": 1, "stream": False, "tools": [], "stop": None}, None),
    ],
)
def test_a_token_limit_is_kept_and_settings_of_the_run_are_not_asked(tmp_path: Path, more: Any, limit: Any) -> None:
    (item,) = read(tmp_path, request(user("hello") | more))
    assert (item.flaw, item.max_new_tokens) == (None, limit)


SYSTEM = {"role": "system", "content": "Be brief."}
ANSWER = {"role": "assistant", "content": "Hi."}
QUESTION = {"role": "user", "content": "hello"}


@pytest.mark.parametrize("role", ["system", "developer"])
@pytest.mark.parametrize(
    "content", ["Be brief.", [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]]
)
def test_a_system_message_stays_apart_from_the_users_text(tmp_path: Path, role: str, content: Any) -> None:
    (item,) = read(tmp_path, request({"messages": [{"role": role, "content": content}, QUESTION]}))
    assert (item.flaw, item.system, item.text) == (None, "Be brief.", "hello")


@pytest.mark.parametrize(
    ("wrong", "code", "message"),
    [
        (request({"messages": [SYSTEM, SYSTEM, QUESTION]}), "E_MULTI_TURN", "3 turns"),
        (request({"messages": [QUESTION, SYSTEM]}), "E_MULTI_TURN", "2 turns"),
        (request({"messages": [SYSTEM | {"content": [DATA]}, QUESTION]}), "E_CONTENT_UNSUPPORTED", "has a picture"),
        (request({"messages": [SYSTEM | {"name": "Bo"}, QUESTION]}), "E_REQUEST_UNSUPPORTED", "name of a speaker"),
        (request({"messages": [QUESTION, ANSWER, QUESTION]}), "E_MULTI_TURN", "3 turns"),
        (request({"messages": [ANSWER]}), "E_MULTI_TURN", "1 turns"),
        (request(user([HELLO, DATA, HELLO])), "E_INTERLEAVED", "order would be lost"),
        (request(user([{"type": "input_audio", "input_audio": {}}])), "E_CONTENT_UNSUPPORTED", "input_audio"),
        (request(user(["hello"])), "E_CONTENT_UNSUPPORTED", "text and image_url are served"),
        (request({"messages": [QUESTION | {"name": "Ann"}]}), "E_REQUEST_UNSUPPORTED", "name of a speaker"),
        (request(user("hello") | {"tools": [{"type": "function"}]}), "E_REQUEST_UNSUPPORTED", "body has 'tools'"),
        (request(user("hello") | {"n": 2}), "E_REQUEST_UNSUPPORTED", "body has 'n'"),
        (request(user("hello") | {"stop": ["."]}), "E_REQUEST_UNSUPPORTED", "body has 'stop'"),
        (request(user("hello") | {"an_invention": 1}), "E_REQUEST_UNSUPPORTED", "body has 'an_invention'"),
        (request(user("hello"), url="/v1/embeddings"), "E_REQUEST_UNSUPPORTED", "/v1/embeddings"),
        (request(user("hello") | {"max_tokens": 0}), "E_FIELD_RANGE", "body.max_tokens must be a whole number"),
        (request(user("hello") | {"max_tokens": True}), "E_FIELD_TYPE", "body.max_tokens must be a whole number"),
        (request({"messages": []}), "E_REQUEST", "must be a list of messages"),
        (request({}), "E_REQUEST", "must be a list of messages"),
        (request(7), "E_REQUEST", "body must be an object, it is int"),
        (request(user(None)), "E_REQUEST", "content must be a text or a list"),
        (request(user([HELLO | {"text": 1}])), "E_FIELD_TYPE", "the text of a part must be a string"),
        (request(user("")), "E_ROW_EMPTY", "neither text nor an image"),
        (request(user([{"type": "image_url", "image_url": {"url": "https://host/1.png"}}])), "E_URI_FORBIDDEN", ""),
        (request(user([{"type": "image_url", "image_url": {"url": "../1.png"}}])), "E_PATH_OUTSIDE_ROOT", ""),
        (
            request(user([{"type": "image_url", "image_url": {"url": "data:image/png;base64,?"}}])),
            "E_IMAGE_BASE64",
            "",
        ),
        (request(user([{"type": "image_url"}])), "E_PATH_OUTSIDE_ROOT", ""),
        ("{", "E_JSON", "is not JSON"),
        ({"id": "plain", "text": "x"}, "E_ID_EMPTY", "no id"),
    ],
)
def test_what_an_item_cannot_say_is_an_error_row_with_its_line(
    tmp_path: Path, wrong: Any, code: str, message: str
) -> None:
    wrong = wrong | {"custom_id": "wrong"} if isinstance(wrong, dict) and "body" in wrong else wrong
    first, flawed, last = read(tmp_path, request(user("x")), wrong, request(user("x"), custom_id="c"))
    assert (first.flaw, last.flaw) == (None, None)
    assert flawed.flaw is not None and flawed.flaw.code == code
    assert "line 2" in flawed.flaw.message and message in flawed.flaw.message
    assert flawed.item_id == ("wrong" if "body" in str(wrong) and code != "E_JSON" else "row-1")
    assert (flawed.text, flawed.images) == ("", ())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
PART = st.fixed_dictionaries({}, optional={"type": JSON | st.sampled_from(["text", "image_url"]), "text": JSON,
                                           "image_url": JSON | st.fixed_dictionaries({"url": JSON})})  # fmt: skip
MESSAGE = st.fixed_dictionaries({}, optional={"role": JSON | st.just("user"), "content": JSON | st.lists(PART)})
BODY = st.fixed_dictionaries({}, optional={"messages": JSON | st.lists(MESSAGE, max_size=2), "max_tokens": JSON,
                                           "n": JSON, "\ud800": JSON})  # fmt: skip
REQUEST = st.fixed_dictionaries({"body": JSON | BODY}, optional={"url": JSON, "method": JSON})


@settings(max_examples=150)
@given(st.lists(REQUEST, min_size=1, max_size=5))
def test_whatever_a_request_holds_it_is_one_row_that_can_be_stored(
    tmp_path_factory: pytest.TempPathFactory, requests: list[Any]
) -> None:
    good = request(user("hello"), custom_id="the good one")
    ids = [{"custom_id": given_id} for given_id in (1.5, None, "x", ["y"], "\ud800")]
    rows = [each | given_id for each, given_id in zip(requests, ids, strict=False)]
    items = read(tmp_path_factory.mktemp("any"), good, *rows)
    assert [item.row for item in items] == list(range(len(requests) + 1))
    for item in items:
        assert item.item_id.encode() and item.text.encode() is not None
        assert item.flaw is None or len(item.flaw.message.encode()) < 500


def test_a_column_map_may_read_requests_as_plain_rows(tmp_path: Path) -> None:
    columns = ColumnMap(id="custom_id", text="note")
    (item,) = read(tmp_path, request(user("hello"), note="a note"), columns=columns)
    assert (item.item_id, item.text) == ("a", "a note")
