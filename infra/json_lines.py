"""Reading a file of JSON objects line by line, whatever is in it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedIOBase

from autosteer_core.errors import BadItem, UserMistake

_MAX_LINE_BYTES = 64 * 2**20
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Line:
    """One line that is not blank: where it starts, its number counted from 1, its bytes."""

    offset: int
    number: int
    data: bytes

    def parsed(self) -> dict[str, object]:
        """The object; BadItem naming the line if it is none."""
        try:
            found = json.loads(self.data.decode())
        except UnicodeDecodeError as error:
            raise BadItem("E_TEXT_UTF8", f"line {self.number} is not UTF-8 at byte {error.start}") from error
        except (ValueError, RecursionError) as error:
            raise BadItem("E_JSON", f"line {self.number} is not JSON: {error}") from error
        if not isinstance(found, dict):
            raise BadItem("E_JSON", f"line {self.number} is a {type(found).__name__}, not an object")
        return found


def lines_of(file: BufferedIOBase, where: str, number: int = 1) -> Iterator[Line]:
    """The lines from the present position, which is the start of line `number`."""
    offset = file.tell()
    while data := file.readline(_MAX_LINE_BYTES + 1):
        if len(data) > _MAX_LINE_BYTES:
            raise UserMistake(
                f"{where}: line {number} is longer than {_MAX_LINE_BYTES} bytes: write one object a line",
                "E_LINE_TOO_LONG",
            )
        content = data.removeprefix(_BYTE_ORDER_MARK) if offset == 0 else data
        if content.strip():
            yield Line(offset, number, content)
        offset += len(data)
        number += 1
