"""A stranger's text as a terminal or a log may show it: it moves no cursor, ends no line, turns nothing round."""

_PICTURES = 0x2400  # Unicode's pictures of the control characters, in the same order
_TURNS = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))  # bidirectional overrides, embeddings and isolates
_ENDS = (0x2028, 0x2029)  # some programs end a line at these two as well
_HALVES = range(0xD800, 0xE000)  # of surrogate pairs: file names that are no UTF-8 have them

_MARKS = {code: chr(_PICTURES + code) for code in range(0x20)} | {0x7F: "\u2421"}
_MARKS |= dict.fromkeys([*range(0x80, 0xA0), *_TURNS, *_ENDS, *_HALVES], "\ufffd")
_MARKS_BUT_LINES = {code: mark for code, mark in _MARKS.items() if code != ord("\n")}


def one_line(text: str) -> str:
    """The text with a mark of one column in the place of everything that a terminal or a log would obey."""
    return text.translate(_MARKS)


def visible(text: str) -> str:
    """The same of a text that may have several lines."""
    return text.translate(_MARKS_BUT_LINES)
