"""The sessions that are live now: by node, by certificate, and in the order in which they were last heard of.

1. A node has at most one session, the newest; a certificate belongs to one node, so it has at most one as well.
2. A revocation that comes while its node is being admitted is not lost: an admission in progress is entered here first.
3. The watchdog is one ordered structure: a keepalive moves its session to the end, and a sweep looks at the front.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from edgeward.hub.session import Session
from edgeward.model.device import Cause


class Live(Protocol):
    """What is registered: a session and whatever carries it."""

    session: Session


_L = TypeVar("_L", bound=Live)


@dataclass(slots=True, eq=False)
class Candidate:
    """An admission in progress. `refused` is set when its node or its certificate is closed in the meantime."""

    node: str
    fingerprint: bytes
    refused: Cause | None = None


class Registry(Generic[_L]):
    """Live sessions. Nothing here is asynchronous, so nothing happens between a question and the act that follows from it."""

    def __init__(self) -> None:
        self._by_node: dict[str, _L] = {}
        self._by_certificate: dict[bytes, _L] = {}
        self._heard: OrderedDict[_L, None] = OrderedDict()
        self._candidates: set[Candidate] = set()

    def __len__(self) -> int:
        return len(self._by_node)

    def __iter__(self) -> Iterator[_L]:
        """The live sessions as they are now; sessions may come and go while they are looked at."""
        return iter(list(self._by_node.values()))

    def expect(self, node: str, fingerprint: bytes) -> Candidate:
        """Enter an admission before its row is read. It must be ended with `forget`."""
        candidate = Candidate(node, fingerprint)
        self._candidates.add(candidate)
        return candidate

    def forget(self, candidate: Candidate) -> None:
        """The admission is over, one way or the other."""
        self._candidates.discard(candidate)

    def add(self, live: _L) -> _L | None:
        """Enter a session; the older one of the same node, which is no longer here, if there was one."""
        older = self._by_node.get(live.session.node)
        if older is not None:
            self.remove(older)
        self._by_node[live.session.node] = live
        self._by_certificate[live.session.fingerprint] = live
        self._heard[live] = None
        return older

    def remove(self, live: _L) -> bool:
        """Take a session out; False when it was not here, because a newer one had replaced it or it was closed before."""
        if self._by_node.get(live.session.node) is not live:
            return False
        del self._by_node[live.session.node]
        del self._by_certificate[live.session.fingerprint]
        del self._heard[live]
        return True

    def of_node(self, node: str) -> _L | None:
        """The session of a node."""
        return self._by_node.get(node)

    def of_certificates(self, fingerprints: Iterable[bytes], cause: Cause) -> list[_L]:
        """The sessions opened with these certificates. Admissions in progress with one of them will be refused because of `cause`."""
        wanted = set(fingerprints)
        for candidate in self._candidates:
            if candidate.fingerprint in wanted:
                candidate.refused = cause
        return [self._by_certificate[one] for one in wanted if one in self._by_certificate]

    def refuse(self, node: str, cause: Cause) -> None:
        """Admissions of `node` in progress will be refused because of `cause`."""
        for candidate in self._candidates:
            if candidate.node == node:
                candidate.refused = cause

    def heard(self, live: _L) -> None:
        """A sign of life, at the moment that its session has noted; in constant time."""
        if live in self._heard:
            self._heard.move_to_end(live)

    def silent(self, since: float) -> list[_L]:
        """The sessions that were last heard of at or before `since`."""
        found = []
        for live in self._heard:
            if live.session.heard > since:
                break
            found.append(live)
        return found

    def heard_after(self, moment: float) -> list[tuple[str, float]]:
        """The nodes that were heard of after `moment`, and when; the work is proportional to their number."""
        found = []
        for live in reversed(self._heard):
            if live.session.heard <= moment:
                break
            found.append((live.session.node, live.session.heard))
        return found
