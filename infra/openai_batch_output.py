"""Committed rows in the form of an OpenAI batch's output and error files.

A refusal is an output, because it is what the client shall see: `finish_reason` is `content_filter`, the text stands
in the message's `refusal`, and `content` is null, so that no client takes it for an answer. Rows that a person must
look at and rows that could not be answered are errors with a code. What the format has no place for (risk, action,
versions) stands in the body under `autosteer`.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

_REFUSE, _ANSWER = "refuse", "answer"
_BESIDE = ("action", "risk", "threshold", "borderline", "bundle_id", "model_fingerprint", "run_id")
_TIME_UNKNOWN = 0  # rows do not say when they were made; clients require the field


def is_output(row: Mapping[str, Any]) -> bool:
    """Whether the row goes to the output file; every other one goes to the error file."""
    return row["action"] in (_ANSWER, _REFUSE)


def output_line(row: Mapping[str, Any]) -> dict[str, Any]:
    """A response of status 200 that holds one chat completion."""
    name = _name(row)
    body = {
        "id": f"chatcmpl-{name}",
        "object": "chat.completion",
        "created": _TIME_UNKNOWN,
        "model": row.get("model_fingerprint") or "",
        "choices": [_choice(row)],
        "autosteer": {key: row.get(key) for key in _BESIDE},
    }
    response = {"status_code": 200, "request_id": f"req_{name}", "body": body}
    return {"id": f"batch_req_{name}", "custom_id": row["item_id"], "response": response, "error": None}


def error_line(row: Mapping[str, Any]) -> dict[str, Any]:
    """No response, and the row's own code; a row without one waits for a person."""
    code = row.get("error_code") or "E_REVIEW"
    message = row.get("error_message") or "the row needs a person's decision before it may be used"
    error = {"code": code, "message": message}
    return {"id": f"batch_req_{_name(row)}", "custom_id": row["item_id"], "response": None, "error": error}


def _choice(row: Mapping[str, Any]) -> dict[str, Any]:
    refused = row["action"] == _REFUSE
    text = row["answer"]
    message = {"role": "assistant", "content": None if refused else text, "refusal": text if refused else None}
    reason = "content_filter" if refused else row.get("finish_reason") or "stop"
    return {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}


def _name(row: Mapping[str, Any]) -> str:
    """The same row of the same run has the same name in every export."""
    return hashlib.sha256(f"{row.get('run_id')}\0{row['item_id']}".encode()).hexdigest()[:24]
