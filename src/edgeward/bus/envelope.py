"""How notices travel: in parts that the bus takes, each with a MAC under a key that the replicas share through their store.

Whoever reaches the bus but not the store can neither forge a notice nor say one again that it has recorded: numbers only grow, from the
time of the start, so also from one life of a replica to the next. What the bus carries is not hidden from it.
"""

import hashlib
import hmac
import itertools
import time
from collections import OrderedDict

import msgspec

from edgeward.bus.port import Notice

_MAC = 16
"""Octets: 128 bits cannot be guessed, and a forged notice buys little."""

MAX_PARTS = 16384
_UNFINISHED = 32
"""Notices of which parts are missing still; the oldest goes."""


class _Part(msgspec.Struct, frozen=True, array_like=True):
    sender: str
    number: int
    part: int
    parts: int
    body: bytes


class Envelopes:
    """Wraps what `sender` says and unwraps what others said. `room`: octets of a part, all included."""

    def __init__(self, key: bytes, sender: str, room: int) -> None:
        self._key = key
        self._sender = sender
        self._room = room - _MAC - len(sender.encode()) - 40
        self._numbers = itertools.count(time.time_ns())
        self._heard: dict[str, int] = {}  # the number of the last notice of each sender
        self._encoder = msgspec.msgpack.Encoder()
        self._parts = msgspec.msgpack.Decoder(_Part)
        self._notices: msgspec.msgpack.Decoder[Notice] = msgspec.msgpack.Decoder(Notice)
        self._unfinished: OrderedDict[tuple[str, int], dict[int, bytes]] = OrderedDict()

    def wrap(self, notice: Notice) -> list[bytes]:
        """The parts of a notice; none for one that is too large for any bus."""
        body, number = self._encoder.encode(notice), next(self._numbers)
        pieces = [body[at : at + self._room] for at in range(0, len(body), self._room)]
        if len(pieces) > MAX_PARTS:
            return []
        return [
            self._sealed(self._encoder.encode(_Part(self._sender, number, n, len(pieces), piece)))
            for n, piece in enumerate(pieces)
        ]

    def unwrap(self, octets: bytes) -> tuple[str, Notice] | None:
        """Who said what, once its last part is there; None for a part, an echo of our own, what was said before, and whatever is not
        from a replica of ours."""
        if not hmac.compare_digest(octets[:_MAC], self._mac(octets[_MAC:])):
            return None
        try:
            one = self._parts.decode(octets[_MAC:])
            if one.sender == self._sender or one.number <= self._heard.get(one.sender, 0):
                return None
            body = one.body if one.parts == 1 else self._gathered(one)
            if body is None:
                return None
            self._heard[one.sender] = one.number
            return one.sender, self._notices.decode(body)
        except msgspec.MsgspecError:  # a replica of another version says something new
            return None

    def _gathered(self, one: _Part) -> bytes | None:
        key = (one.sender, one.number)
        parts = self._unfinished.setdefault(key, {})
        parts[one.part] = one.body
        if len(parts) < one.parts:
            if len(self._unfinished) > _UNFINISHED:
                self._unfinished.popitem(last=False)
            return None
        del self._unfinished[key]
        return b"".join(parts[n] for n in range(one.parts))

    def _mac(self, octets: bytes) -> bytes:
        return hmac.digest(self._key, octets, hashlib.sha256)[:_MAC]

    def _sealed(self, octets: bytes) -> bytes:
        return self._mac(octets) + octets
