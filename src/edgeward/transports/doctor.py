"""How the doctor touches a server: it resolves, connects, makes one handshake after another, and asks at most one question in each.

Every handshake is a connection of its own and verifies nothing: the point is to see what a client sees that refuses. The private key
signs in OpenSSL and goes nowhere. Nothing is followed, time and octets are bounded, and whatever comes back is kept as octets for others
to judge.
"""

import contextlib
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from edgeward.model.handshake import Address, Alert, Answer, Connected, Handshake, Offer, Outcome, Resolution
from edgeward.transports import client_tls, contexts, tls_messages
from edgeward.transports.reasons import explain_connecting
from edgeward.transports.tap import Tap

MAX_ADDRESSES = 8
"""Addresses of one name that are tried."""

MAX_ANSWER = 128 * 1024
"""Octets of an answer that are read."""

MAX_PLAIN = 4096

_EDGE_SUITES = ":".join(
    f"ECDHE-{kind}-{rest}"
    for rest in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305", "AES128-SHA", "AES256-SHA")
    for kind in ("ECDSA", "RSA")
)
"""What Go's TLS offers for TLS 1.2 (crypto/tls, since 1.22 without RSA key exchange), and with it every KubeEdge edge."""

SUITES = {"edge": f"{_EDGE_SUITES}:@SECLEVEL=0", "all": "ALL:COMPLEMENTOFALL:@SECLEVEL=0"}

_VERSIONS = {
    "TLSv1": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}


class _Ended(Exception):
    """The connection is over: closed or reset."""


class _Silent(Exception):
    """Nothing came within the time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Our client certificate (PEM, with its intermediates) and its key."""

    certificate: bytes
    key: PrivateKeyTypes = field(repr=False)


@dataclass(slots=True)
class _Wire:
    """A TCP connection with a deadline for all that happens on it."""

    connection: socket.socket
    until: float
    first: bytes = b""
    ended: bool = False

    def send(self, octets: bytes) -> None:
        if not octets or self.ended:
            return
        try:
            self.connection.settimeout(max(0.001, self.until - time.monotonic()))
            self.connection.sendall(octets)
        except TimeoutError as error:
            raise _Silent from error
        except OSError:
            self.ended = True  # what it sent before it closed is still to be read

    def receive(self, limit: int = 65536) -> bytes:
        left = self.until - time.monotonic()
        if left <= 0:
            raise _Silent
        try:
            self.connection.settimeout(left)
            octets = self.connection.recv(limit)
        except TimeoutError as error:
            raise _Silent from error
        except OSError as error:
            raise _Ended from error
        if not octets:
            raise _Ended
        if len(self.first) < 512:
            self.first = (self.first + octets)[:512]
        return octets


def resolve(host: str, port: int, seconds: float) -> Resolution:
    """The addresses of `host`: its own if it is one, else the resolver's, IPv6 and IPv4 in its order, `MAX_ADDRESSES` at most.

    The resolver has no time limit of its own that a program could set: after `seconds` it is left to itself.
    """
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host.partition("%")[0])
        return Resolution(addresses=(Address(host=host, port=port),))
    found: list[Resolution] = []
    asking = threading.Thread(target=lambda: found.append(_looked_up(host, port)), daemon=True)
    asking.start()
    asking.join(seconds)
    return found[0] if found else Resolution(failure="failed", why=f"no answer within {seconds:g} s")


def _looked_up(host: str, port: int) -> Resolution:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        kind = "failed" if error.errno in (socket.EAI_AGAIN, socket.EAI_FAIL) else "not-found"
        return Resolution(failure=kind, why=error.strerror or str(error))
    except (UnicodeError, OSError, ValueError) as error:
        return Resolution(failure="not-found", why=str(error))
    addresses = dict.fromkeys(Address(host=str(entry[4][0]), port=port) for entry in found)
    return Resolution(addresses=tuple(addresses)[:MAX_ADDRESSES])


def _dial(address: Address, seconds: float) -> socket.socket:
    return socket.create_connection((address.host, address.port), timeout=seconds)


def connect(address: Address, seconds: float) -> Connected:
    """A TCP connection and nothing more: how long it took, or why there is none."""
    began = time.monotonic()
    try:
        with _dial(address, seconds) as connection:
            here = connection.getsockname()
            local = str(Address(host=str(here[0]), port=int(here[1])))
            return Connected(address=address, seconds=time.monotonic() - began, local=local)
    except ConnectionRefusedError as error:
        kind, why = "refused", explain_connecting(error)
    except TimeoutError:
        kind, why = "no-answer", f"no answer within {seconds:g} s"
    except (OSError, UnicodeError, OverflowError) as error:
        kind, why = "no-route", explain_connecting(error) if isinstance(error, OSError) else str(error)
    return Connected(address=address, seconds=time.monotonic() - began, failure=kind, why=why)


def plain(address: Address, question: bytes, seconds: float) -> bytes:
    """What a server says in the clear, before and after `question`; empty for nothing."""
    heard = b""
    try:
        with _dial(address, seconds) as connection:
            wire = _Wire(connection, time.monotonic() + min(1.0, seconds))
            with contextlib.suppress(_Silent):  # servers that speak first do so at once
                heard += wire.receive(MAX_PLAIN)
            if not heard:
                wire.until = time.monotonic() + seconds
                wire.send(question)
                heard += wire.receive(MAX_PLAIN)
    except (OSError, _Ended, _Silent):
        pass
    return heard[:MAX_PLAIN]


def _context(offer: Offer, pair: Pair | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.options |= ssl.OP_NO_TICKET | getattr(ssl, "OP_LEGACY_SERVER_CONNECT", 4)
    context.set_ciphers(SUITES[offer.suites])
    context.minimum_version, context.maximum_version = (_VERSIONS[version] for version in offer.versions)
    if offer.protocols:
        context.set_alpn_protocols(list(offer.protocols))
    if pair is not None and offer.pair:
        contexts.load_pair(context, pair.certificate, pair.key)
    return context


@dataclass(slots=True)
class _Attempt:
    """One handshake while it goes on."""

    address: Address
    offer: Offer
    wire: _Wire
    tls: ssl.SSLObject
    incoming: ssl.MemoryBIO
    outgoing: ssl.MemoryBIO
    tap: Tap
    began: float
    only_to: bytes | None = None
    outcome: Outcome = Outcome.DONE
    finished: bool = False
    reason: str = ""
    answer: Answer | None = None

    def flush(self) -> None:
        self.wire.send(self.outgoing.read())

    def step(self, do: Callable[[], bytes | None]) -> bytes | None:
        """Do something with TLS, moving octets as it needs them."""
        while True:
            try:
                done = do()
            except ssl.SSLWantReadError:
                self.flush()
                self.incoming.write(self.wire.receive())
                continue
            self.flush()
            return done

    def run(self, question: bytes) -> None:
        try:
            self.step(self.tls.do_handshake)
            self.finished = True
            if question and (self.only_to is None or self._leaf() == self.only_to):
                self.ask(question)
        except _Silent:
            self.outcome = Outcome.DONE if self.finished else Outcome.SILENT
        except _Ended:
            self.outcome = Outcome.DONE if self.answer is not None else Outcome.CLOSED
        except ssl.SSLZeroReturnError:
            self.outcome = Outcome.DONE if self.finished else Outcome.CLOSED
        except (ssl.SSLError, ValueError) as error:
            self.reason = getattr(error, "reason", None) or str(error)
            self.outcome = self._why()
        if self._alert("server") is not None and self.outcome is not Outcome.NOT_TLS:
            self.outcome = Outcome.ALERT
        with contextlib.suppress(_Silent, _Ended):
            self.flush()

    def _leaf(self) -> bytes:
        return next(iter(client_tls.presented_chain(self.tls)), b"")

    def _alert(self, sender: str) -> Alert | None:
        return tls_messages.last_alert(self.tap.heard, sender)

    def _why(self) -> Outcome:
        if self.wire.first and not 20 <= self.wire.first[0] <= 23:
            return Outcome.NOT_TLS
        return Outcome.OURS

    def ask(self, question: bytes) -> None:
        """Send one request and read its answer, as far as it goes."""
        self.step(lambda: (self.tls.write(question), None)[1])
        heard = b""
        try:
            while len(heard) < MAX_ANSWER and not _complete(heard):
                piece = self.step(lambda: self.tls.read(65536)) or b""
                if not piece:
                    break
                heard += piece
        finally:
            if heard:
                self.answer = read_answer(heard, datetime.now(UTC))

    def result(self) -> Handshake:
        heard = self.tap.heard
        version = tls_messages.negotiated(heard)
        tls13 = version == "TLSv1.3"
        hello = tls_messages.read(heard, tls13)
        sent = tls_messages.body_of(heard, "server", 11)
        own = tls_messages.body_of(heard, "client", 11)
        request = tls_messages.body_of(heard, "server", 13)
        cipher = self.tls.cipher()
        return Handshake(
            address=self.address,
            offer=self.offer,
            outcome=self.outcome,
            finished=self.finished,
            version=version,
            suite=cipher[0] if cipher else "",
            protocol=self.tls.selected_alpn_protocol() if self.finished else None,
            certificates=tls_messages.certificates(sent, tls13) if sent else (),
            asked=request is not None,
            shown=bool(own and tls_messages.certificates(own, tls13)),
            authorities=tls_messages.authorities(request, tls13) if request else (),
            alert=self._alert("server") or self._alert("client"),
            reason=self.reason,
            first=self.wire.first,
            messages=hello,
            answer=self.answer,
            seconds=time.monotonic() - self.began,
            local=_local(self.wire.connection),
        )


def _local(connection: socket.socket) -> str:
    try:
        here = connection.getsockname()
        return str(Address(host=str(here[0]), port=int(here[1])))
    except OSError:
        return ""


def handshake(
    address: Address,
    offer: Offer,
    question: bytes,
    *,
    seconds: float,
    pair: Pair | None = None,
    only_to: bytes | None = None,
) -> Handshake:
    """One handshake with `offer`, and `question` after it (empty: none). At most about `seconds` to connect and as many for the rest.

    `only_to`: the question is for the server that proves in this same handshake to hold this certificate (DER), and for no other.
    Raises `Unreadable` when our own certificate and key do not go together.
    """
    tap = Tap()
    context = tap.on(_context(offer, pair))
    began = time.monotonic()
    try:
        connection = _dial(address, seconds)
    except (OSError, UnicodeError, OverflowError) as error:
        why = explain_connecting(error) if isinstance(error, OSError) else str(error)
        return Handshake(address=address, offer=offer, outcome=Outcome.UNCONNECTED, reason=why)
    with connection:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        attempt = _Attempt(
            address=address,
            offer=offer,
            wire=_Wire(connection, time.monotonic() + seconds),
            tls=context.wrap_bio(incoming, outgoing, server_hostname=offer.server_name),
            incoming=incoming,
            outgoing=outgoing,
            tap=tap,
            began=began,
            only_to=only_to,
        )
        attempt.run(question)
        return attempt.result()


def _complete(heard: bytes) -> bool:
    head, end, body = heard.partition(b"\r\n\r\n")
    if not end:
        return not b"HTTP/1.".startswith(heard[:7])  # whatever it is, it is no HTTP/1: its beginning will do
    answer = read_answer(head + end, None)
    length = answer.header("content-length")
    return answer.status in (101, 204, 304) or (length.isdecimal() and len(length) < 12 and len(body) >= int(length))


def read_answer(heard: bytes, at: datetime | None) -> Answer:
    """An HTTP/1 answer taken apart as far as it makes sense; the status is 0 for anything else."""
    head, _, body = heard.partition(b"\r\n\r\n")
    lines = head[:16384].split(b"\r\n")
    parts = lines[0].split(b" ", 2)
    status = (
        int(parts[1])
        if len(parts) > 1 and parts[0].startswith(b"HTTP/1.") and parts[1].isdigit() and len(parts[1]) == 3
        else 0
    )
    headers = []
    for line in lines[1:100]:
        name, colon, value = line.partition(b":")
        if colon:
            headers.append((name.decode("latin-1").lower(), value.strip().decode("latin-1")))
    known = dict(headers)
    if known.get("transfer-encoding", "").lower() == "chunked":
        body = _unchunked(body)
    return Answer(status=status, headers=tuple(headers), body=body if status else b"", octets=heard[:512], at=at)


def _unchunked(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        try:
            length = int(size.split(b";")[0][:8], 16)
        except ValueError:
            break
        if length <= 0:
            break
        whole += rest[:length]
        body = rest[length + 2 :]
    return whole
