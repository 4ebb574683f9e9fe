"""Frames on a socket between processes: eight bytes of length, and then so many bytes."""

import struct
from socket import socket

LENGTH = struct.Struct("!Q")


def send_frame(line: socket, data: bytes) -> None:
    """All of it; raises OSError if the other end is gone or does not listen in time."""
    line.sendall(LENGTH.pack(len(data)))
    line.sendall(data)


def receive_frame(line: socket) -> bytearray:
    """The next frame; raises EOFError if the other end is gone, TimeoutError if it is silent for too long."""
    (length,) = LENGTH.unpack(_exactly(line, LENGTH.size))
    return _exactly(line, length)


def _exactly(line: socket, length: int) -> bytearray:
    data = bytearray(length)
    missing = memoryview(data)
    while missing:
        count = line.recv_into(missing)
        if not count:
            raise EOFError
        missing = missing[count:]
    return data
