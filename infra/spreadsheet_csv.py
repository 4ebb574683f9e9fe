"""Rows as CSV that a spreadsheet shows and never runs.

A spreadsheet takes a cell that begins with `=`, `+`, `-` or `@` for a formula, which can send away what stands
beside it. Such a text gets a `'` in front, which a spreadsheet reads as "this is text". So does a text that begins
with `'` itself: whoever takes one `'` away from every text that begins with one gets exactly what was there. Numbers
are written as they are, maps and lists as JSON, and what is missing as a cell without quotes.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

# Also in full width, which some programs take for the same, and behind white space, which some cut off.
_RUNS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_MARK = "'"


def csv_header(columns: Sequence[str]) -> str:
    """The first record."""
    return _record(columns)


def csv_row(row: Mapping[str, Any], columns: Sequence[str]) -> str:
    """The row's values in the order of the columns, as one record; what it lacks is missing."""
    return _record([row.get(name) for name in columns])


def _record(values: Sequence[Any]) -> str:
    return ",".join(map(_cell, values)) + "\r\n"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, (dict, list)):
        return _quoted(json.dumps(value, ensure_ascii=False, allow_nan=False))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _quoted(text: str) -> str:
    # The csv module cannot quote texts only before Python 3.12.
    return '"' + _harmless(text).replace('"', '""') + '"'


def _harmless(text: str) -> str:
    begins = text.lstrip("\0" + " \t\r\n").startswith(_RUNS) or text.startswith((_MARK, "\t", "\r", "\n"))
    return _MARK + text if begins else text
