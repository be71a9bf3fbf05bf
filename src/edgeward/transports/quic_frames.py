"""How messages lie in a QUIC stream: KubeEdge's ten-octet package header, and the JSON form of a message behind it. No I/O.

    offset 0   01 01 01 00      version of the package's form
    offset 4   04               kind: user-defined (KubeEdge's own 01 means a protobuf that cannot carry `resourceversion`)
    offset 5   00               flags: none
    offset 6   length           of the payload, 32 bits, big-endian
    offset 10  payload          one JSON document

The control stream begins with a package; every other stream begins with the three octets `msg`. A length is judged before an octet of
its payload is kept, and what is kept is what has come, never what was announced (CVE-2026-62370).
"""

from edgeward.errors import TooLarge, Unreadable

VERSION = b"\x01\x01\x01\x00"
KIND = 4
HEADER = 10
PREFIX = b"msg"

_START = VERSION + bytes((KIND, 0))


def package(payload: bytes) -> bytes:
    """`payload` with its header. It must have less than 4 GiB."""
    return _START + len(payload).to_bytes(4, "big") + payload


class Reader:
    """The packages of one stream, out of octets as they come. `limit`: octets of a payload. `prefixed`: the stream begins with `msg`."""

    __slots__ = ("_came", "_limit", "_need", "_payload", "_prefix")

    def __init__(self, limit: int, *, prefixed: bool) -> None:
        self._limit = limit
        self._prefix = PREFIX if prefixed else b""
        self._came = bytearray()
        self._need = HEADER
        self._payload = False

    @property
    def unfinished(self) -> int:
        """Octets that are kept because their package is not whole."""
        return len(self._came)

    def feed(self, octets: bytes) -> list[bytes]:
        """The payloads that are whole now. Raises `Unreadable` or `TooLarge`, the peer's fault; nothing may be fed after that."""
        self._came += octets
        if self._prefix:
            if not self._prefix.startswith(self._came[: len(self._prefix)]):
                raise Unreadable(what="stream", why="it does not begin with `msg`")
            if len(self._came) < len(self._prefix):
                return []
            del self._came[: len(self._prefix)]
            self._prefix = b""
        found, at = [], 0
        while len(self._came) - at >= self._need:
            piece = bytes(memoryview(self._came)[at : at + self._need])
            at += self._need
            if self._payload:
                found.append(piece)
                self._payload, self._need = False, HEADER
            else:
                self._need = self._length(piece)
                self._payload = True
        if at:
            del self._came[:at]
        return found

    def _length(self, header: bytes) -> int:
        if not header.startswith(_START):
            raise Unreadable(what="package", why=f"its header begins with {header[:6].hex()} instead of {_START.hex()}")
        length = int.from_bytes(header[6:], "big")
        if length > self._limit:
            raise TooLarge(what=f"a package of {length} bytes", limit=self._limit)
        return length
