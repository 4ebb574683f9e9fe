"""Reads the data of a pickle without running it: calls become inert tuples (the repository bans pickle)."""

from __future__ import annotations

import io
import pickletools
from typing import Any

MARK = object()
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
LITERALS = {"BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "GLOBAL"}
FRESH = {"EMPTY_TUPLE": tuple, "EMPTY_DICT": dict, "EMPTY_LIST": list}
IGNORED = {"PROTO", "STOP"}


def _since_mark(stack: list[Any]) -> list[Any]:
    """Take what was pushed after the last mark."""
    at = max(index for index, value in enumerate(stack) if value is MARK)
    taken = stack[at + 1 :]
    del stack[at:]
    return taken


def _combine(name: str, stack: list[Any]) -> None:
    """The opcodes that build containers; REDUCE keeps the arguments and calls nothing."""
    if name == "TUPLE":
        stack.append(tuple(_since_mark(stack)))
    elif name in {"TUPLE1", "TUPLE2", "TUPLE3"}:
        size = int(name[-1])
        stack[-size:] = [tuple(stack[-size:])]
    elif name == "REDUCE":
        callee, arguments = stack[-2:]
        stack[-2:] = [{} if "OrderedDict" in callee else arguments]
    elif name == "SETITEMS":
        flat = _since_mark(stack)
        stack[-1].update(zip(flat[::2], flat[1::2], strict=True))
    elif name == "SETITEM":
        key, value = stack[-2:]
        del stack[-2:]
        stack[-1][key] = value
    elif name == "APPENDS":
        taken = _since_mark(stack)
        stack[-1].extend(taken)
    elif name != "BINPERSID":
        raise ValueError(f"opcode {name} is not expected in a file of tensors: refuse to read it")


def _push(name: str, argument: Any, stack: list[Any], memo: dict[int, Any]) -> bool:
    """The opcodes that only add a value; false for any other."""
    if name in LITERALS:
        stack.append(argument)
    elif name in CONSTANTS:
        stack.append(CONSTANTS[name])
    elif name in FRESH:
        stack.append(FRESH[name]())
    elif name == "MARK":
        stack.append(MARK)
    elif name in {"BINGET", "LONG_BINGET"}:
        stack.append(memo[argument])
    else:
        return False
    return True


def read(stream: io.BytesIO) -> Any:
    """One pickle of the stream as plain containers; its BUILD state is dropped."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    for opcode, argument, _ in pickletools.genops(stream):
        name = opcode.name
        if name in {"BINPUT", "LONG_BINPUT"}:
            memo[int(str(argument))] = stack[-1]
        elif name == "BUILD":
            stack.pop()
        elif name not in IGNORED and not _push(name, argument, stack, memo):
            _combine(name, stack)
    return stack[-1]
