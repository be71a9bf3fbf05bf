"""TLS over a plain TCP transport: our own driver of the standard library's OpenSSL, for `tls_server` and (with `dial`) for the agent.

The event loops' own TLS closes a failed handshake without its alert, hides why it failed and holds 256 KiB for each connection. Here
every failed handshake is reported once with its reason, and its alert reaches the peer. One object is both ends of the machinery: the
protocol of the TCP transport below and the transport of the protocol above. What holds:

- the protocol above sees `connection_made` only after a finished handshake, and then `connection_lost` exactly once;
- a connection that has not finished its handshake costs a few hundred octets until its first message is complete, has one deadline
  that nothing extends, and leaves when newer ones need its place;
- a truncated, garbled or hostile stream ends the connection and raises nothing into the loop.
"""

import asyncio
import ssl
from collections.abc import Iterable
from typing import Any

from edgeward.errors import HandshakeFailed
from edgeward.model.failure import HandshakeFailure
from edgeward.transports import hello, shown, tcp
from edgeward.transports.limits import Deadlines, TlsLimits
from edgeward.transports.reasons import explain

_PIECE = 16384
"""Octets that pass through OpenSSL's memory at a time: one record. Its buffers grow to the largest piece ever and never shrink."""

_GREETING, _SHAKING, _OPEN, _CLOSING, _CLOSED = range(5)

_PLAIN_HTTP = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 58\r\nConnection: close\r\n\r\n"
    b"this port speaks HTTPS: use https:// instead of http:// .\n"
)
_WORDLESS = "it finished the handshake and closed the connection without a word"

_NO_APPLICATION_PROTOCOL = b"\x15\x03\x03\x00\x02\x02\x78"
"""A fatal alert as it is sent before any key is agreed (RFC 7301 section 3.2)."""


_WARY = 1000
"""Connections that are looked at before their handshake begins, after one whose client has left in the middle of it."""


class Side:
    """What differs between the two ends of a connection, and the deadlines of all connections of one."""

    limits: TlsLimits
    server: bool
    shaking: "Deadlines[Connection]"
    """Connections whose handshake has begun."""
    leaving: "Deadlines[Connection]"
    """Those that are closed here, with something left for the peer to take."""
    lingering: "Deadlines[Connection]"
    """Those that are closed here and have said so."""
    wary = 0
    """How many of the next connections are looked at before any work is done for them: their clients may have lost patience."""

    def __init__(self, limits: TlsLimits | None) -> None:
        self.limits = limits or TlsLimits()
        self.shaking = Deadlines(self.limits.handshake_seconds, Connection.out_of_time)
        self.leaving = Deadlines(self.limits.close_seconds, Connection.cut)
        self.lingering = Deadlines(self.limits.linger_seconds, Connection.cut)

    def wrap(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, address: str) -> ssl.SSLObject:
        raise NotImplementedError

    def arrived(self, connection: "Connection") -> None:
        """A TCP connection stands."""

    def settled(self, connection: "Connection") -> None:
        """A handshake is over, one way or the other."""

    def inspect(self, tls: ssl.SSLObject) -> str | None:
        """After the handshake: None, or why this session is refused."""
        return None

    def above(self, connection: "Connection") -> asyncio.Protocol:
        """The protocol for a finished handshake."""
        raise NotImplementedError

    def failed(self, failure: HandshakeFailure, error: Exception | None) -> None:
        """The handshake did not succeed; `error` is what a verifier raised."""


class Connection(asyncio.Transport, asyncio.Protocol):
    """One TLS connection. To the protocol above it is an `asyncio.Transport`; the methods of a protocol are for the loop alone.

    `get_extra_info` knows `peername`, `sockname`, `peer_certificate` (DER or None), `cipher`, `tls_version`, `alpn` and
    `ssl_object`.
    """

    __slots__ = (
        "_above",
        "_ended",
        "_error",
        "_first",
        "_half_closed",
        "_incoming",
        "_loop",
        "_octets",
        "_outgoing",
        "_paused",
        "_side",
        "_state",
        "_tcp",
        "_tls",
        "_waits",
        "address",
    )

    _incoming: ssl.MemoryBIO
    _loop: asyncio.AbstractEventLoop
    _outgoing: ssl.MemoryBIO
    _tcp: asyncio.Transport
    _tls: ssl.SSLObject

    def __init__(self, side: Side) -> None:
        self._side = side
        self._above = _NOBODY
        self._state = _GREETING
        self.address = ""
        self._first = b""
        self._octets = 0
        self._paused = False
        self._ended = False
        self._half_closed = False
        self._error: Exception | None = None
        self._waits: Deadlines[Connection] | None = None

    # ------------------------------------------------------------------------------------------ the protocol of the TCP below

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TCP stands: the deadline of the handshake begins."""
        self._tcp = transport  # type: ignore[assignment]  # loops give a full transport to a stream protocol
        peer = transport.get_extra_info("peername")
        self.address = peer[0] if isinstance(peer, tuple) else ""
        self._loop = asyncio.get_running_loop()
        self._wait(self._side.shaking)
        self._side.arrived(self)
        if not self._side.server and self._state == _GREETING:
            self._start()
            self._shake()

    def data_received(self, data: bytes) -> None:
        """Ciphertext."""
        if self._state == _OPEN:
            if len(data) <= _PIECE:
                self._incoming.write(data)
                self._decrypt(len(data))
            else:
                self._feed(data)
            return
        self._octets += len(data)
        if self._state == _GREETING:
            self._greet(data)
        elif self._state == _SHAKING:
            self._feed(data)
            limit = self._side.limits.handshake_octets
            if self._state == _SHAKING and self._octets > limit:
                self._fail("too-large", f"it sent more than {limit} octets before the end of the handshake")
        elif self._octets > self._side.limits.linger_octets:
            self._tcp.abort()

    def eof_received(self) -> bool:
        """The peer sends no more. The protocol above may still want to answer, so an open connection is left to us."""
        self._half_closed = True
        if self._state <= _SHAKING:
            self._closed_early()
        elif self._state == _OPEN:
            self._end()
        return self._state == _OPEN

    def connection_lost(self, exc: Exception | None) -> None:
        """TCP is gone."""
        if self._state <= _SHAKING:
            self._closed_early()
        elif self._state == _OPEN and not self._ended:
            self._unused()
        self._state = _CLOSED
        if self._waits is not None:
            self._stop_waiting()
        above, self._above = self._above, _NOBODY  # breaks the circle between the two
        above.connection_lost(self._error or exc)

    def pause_writing(self) -> None:
        """The TCP buffer is full: so is ours."""
        if self._state == _OPEN:
            self._above.pause_writing()

    def resume_writing(self) -> None:
        """The TCP buffer has room again."""
        if self._state == _OPEN:
            self._above.resume_writing()

    # -------------------------------------------------------------------------------------------------------- the handshake

    def _start(self) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = self._side.wrap(self._incoming, self._outgoing, self.address)
        self._state = _SHAKING

    def _greet(self, data: bytes) -> None:
        """Wait for the whole ClientHello, and look at it before OpenSSL does."""
        self._first = first = self._first + data if self._first else data
        if first[:1].isupper():  # a method; a TLS record begins with 0x16
            self._tcp.write(_PLAIN_HTTP)
            self._fail("plain-http", "it speaks HTTP without TLS")
        elif not hello.whole(first):
            return
        elif not hello.speaks(first, b"http/1.1"):
            self._tcp.write(_NO_APPLICATION_PROTOCOL)
            self._fail(
                "protocol", "it offers protocols (ALPN), and http/1.1 is not among them", "no application protocol"
            )
        elif self._side.wary and self._has_left():
            self._fail("closed", "it had closed the connection before its turn came")
        else:
            self._start()
            self._feed(first)

    def _has_left(self) -> bool:
        """Whether the client did not wait for its turn: the work for others is not held up by work for it."""
        self._side.wary -= 1
        return tcp.has_left(self._tcp)

    def _shake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError as error:
            self._flush()  # the alert
            self._fail("tls", *explain(error))
        else:
            self._flush()
            self._shaken()

    def _shaken(self) -> None:
        try:
            why = self._side.inspect(self._tls)
        except Exception as error:  # whatever a verifier says ends this connection and is told to who dials
            self._error = error
            self._farewell()
            self._fail("tls", str(error))
            return
        if why is not None:
            self._farewell()
            self._fail("session_reused", why)
            return
        self._settled()
        self._state = _OPEN
        self._above = self._side.above(self)
        self._above.connection_made(self)
        pending = self._incoming.pending
        if pending:
            self._decrypt(min(pending, _PIECE))

    def _settled(self) -> None:
        self._stop_waiting()
        self._side.settled(self)

    def _fail(self, code: str, reason: str, alert: str | None = None, received: bool = False) -> None:
        """End an unfinished handshake and report it; what was written before, an alert, goes out first."""
        self._settled()
        failure = self._failure(code, reason, alert, received)
        if code == "closed":
            self._side.wary = _WARY
        self._state = _CLOSING
        self._first = b""
        self._close_tcp()
        self._side.failed(failure, self._error)

    def _failure(self, code: str, reason: str, alert: str | None, received: bool) -> HandshakeFailure:
        local = self._tcp.get_extra_info("sockname")
        return HandshakeFailure(
            address=self.address,
            server_name=hello.read(self._first).server_name,
            code=code,
            reason=reason,
            alert=alert,
            received=received,
            local=local[0] if isinstance(local, tuple) else "",
            certificate=self._shown(),
        )

    def _shown(self) -> bytes | None:
        """The certificate (DER) of the peer, as far as it is known: proved on an open connection, only shown before."""
        if self._state == _OPEN:
            return self._tls.getpeercert(binary_form=True)
        return shown.shown(self._tls) if self._state == _SHAKING else None

    def out_of_time(self) -> None:
        """End a handshake that takes too long."""
        limit = self._side.limits.handshake_seconds
        self._fail("timeout", f"it did not finish the handshake in {limit:g} s")
        self._tcp.abort()

    def _closed_early(self) -> None:
        if self._octets or not self._side.server:
            self._fail("closed", "it closed the connection during the handshake")
        else:  # a port that is looked at, by a load balancer for one, is no failed handshake
            self._settled()
            self._state = _CLOSING
            self._tcp.close()

    def cut(self) -> None:
        """End what is closed already."""
        self._tcp.abort()

    def _unused(self, reason: str = _WORDLESS, alert: str | None = None) -> None:
        """The peer has ended an open connection: report it if it never said anything but, perhaps, an alert, as a client does that judges
        the server's certificate after the handshake. The protocol above knows; its `silent` says so."""
        if self._side.server and getattr(self._above, "silent", False):
            code = "unused" if alert is None else "tls"
            self._side.failed(self._failure(code, reason, alert, received=alert is not None), None)

    def put_out(self, reason: str) -> None:
        """End an unfinished handshake whose place is needed."""
        self._fail("crowded", reason)
        self._tcp.abort()

    # ------------------------------------------------------------------------------------------------------------- octets up

    def _feed(self, data: bytes) -> None:
        """A read, a piece at a time; all of it is taken even when the protocol above pauses in between."""
        for at in range(0, len(data), _PIECE):
            self._incoming.write(data[at : at + _PIECE])  # the whole of a small read is not copied
            if self._state == _OPEN:
                self._decrypt()
            elif self._state == _SHAKING:
                self._shake()
            else:
                return

    def _decrypt(self, size: int = _PIECE) -> None:
        """Pass on what can be read. `size`: more than what is there to be read can give, if it is one record and nothing else."""
        tls, incoming = self._tls, self._incoming
        try:
            while self._state == _OPEN and not self._paused:
                plain = tls.read(size)
                if not plain:
                    self._end()
                    break
                self._first = b""  # no failure is left to be reported
                self._above.data_received(plain)
                if len(plain) < size and not incoming.pending:  # nothing is left: no need to ask
                    break
                size = _PIECE
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._broken(error)
            return
        if self._outgoing.pending and self._state == _OPEN:  # an answer to a key update
            self._flush()

    def _end(self) -> None:
        """The peer's last octet was read: by its close_notify, or without one."""
        if self._ended:
            return
        self._ended = True
        self._unused()
        if not self._above.eof_received():
            self.close()

    def _broken(self, error: ssl.SSLError) -> None:
        """The stream is not TLS any more, or the peer sent an alert. Its own alert goes out, the rest is dropped."""
        self._flush()
        reason, alert, received = explain(error)
        self._error = HandshakeFailed(address=self.address, why=reason)
        if received:
            self._unused(reason, alert)
        self._state = _CLOSING
        self._close_tcp()

    # ----------------------------------------------------------------------------------------------------------- octets down

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._tcp.write(self._outgoing.read())

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send; ignored after `close`."""
        if self._state != _OPEN or not data:
            return
        try:
            if len(data) <= _PIECE:
                self._tls.write(data)
                self._tcp.write(self._outgoing.read())
                return
            view = memoryview(data).cast("B")
            for at in range(0, len(view), _PIECE):
                self._tls.write(view[at : at + _PIECE])
                self._tcp.write(self._outgoing.read())
        except ssl.SSLError as error:
            self._broken(error)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send the pieces as one."""
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        """False: the end of sending is the end of the connection here."""
        return False

    def close(self) -> None:
        """Send close_notify after what was written, then close."""
        if self._state != _OPEN:
            return
        self._farewell()
        self._state = _CLOSING
        self._close_tcp()

    def finish(self, data: bytes) -> None:
        """Send the last of `data` (one record at most) and close, in one piece: for a peer that asked for the end and sends no more, so
        that nothing of it need be waited for."""
        if self._state != _OPEN:
            return
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            self._broken(error)
            return
        self._ended = True
        self.close()

    def _farewell(self) -> None:
        try:  # noqa: SIM105  # every connection comes here and raises: no call more than it takes
            self._tls.unwrap()
        except ssl.SSLError:  # it wants the peer's close_notify too: nobody waits for that
            pass
        self._flush()

    def _close_tcp(self) -> None:
        """Close in a way that the last words reach the peer.

        A socket that is closed with unread octets in it sends a reset, which destroys at the peer what it has not read yet: an alert, or
        the answer to a request whose body was refused. So the end of sending is said first, and what still comes is thrown away unread.
        """
        if self._half_closed or self._ended or self._tcp.is_closing():
            self._tcp.close()
            if not self._tcp.get_write_buffer_size():
                return
        else:
            if self._paused:
                self._tcp.resume_reading()
            try:
                self._tcp.write_eof()
            except OSError:  # the peer has reset the connection, and the loop has not read that yet
                self._tcp.abort()
                return
        self._octets = 0
        self._wait(self._side.leaving if self._tcp.get_write_buffer_size() else self._side.lingering)

    def abort(self) -> None:
        """Cut the connection: not one more octet goes out, not even those that wait."""
        if self._state <= _SHAKING:
            self._settled()
        if self._state != _CLOSED:
            self._state = _CLOSING
            self._tcp.abort()

    # ------------------------------------------------------------------------------------------- the rest of a transport

    def _wait(self, clock: "Deadlines[Connection]") -> None:
        self._waits = clock
        clock.start(self, self._loop)

    def _stop_waiting(self) -> None:
        if self._waits is not None:
            self._waits.stop(self)
            self._waits = None

    def is_closing(self) -> bool:
        """Whether `close` or `abort` was called, or the connection is gone."""
        return self._state >= _CLOSING

    def pause_reading(self) -> None:
        """No `data_received` until `resume_reading`; at most one read waits inside."""
        if not self._paused:
            self._paused = True
            self._tcp.pause_reading()

    def resume_reading(self) -> None:
        """Go on where `pause_reading` stopped."""
        if self._paused:
            self._paused = False
            self._tcp.resume_reading()
            self._loop.call_soon(self._resume)

    def _resume(self) -> None:
        if self._state == _OPEN:
            self._decrypt()

    def is_reading(self) -> bool:
        """Whether octets are read."""
        return not self._paused and self._state == _OPEN

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """The marks, in octets of ciphertext, at which the protocol above is paused and resumed."""
        self._tcp.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """Octets of ciphertext that the kernel has not taken yet."""
        return self._tcp.get_write_buffer_size()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Put another protocol above, as an upgrade does."""
        self._above = protocol  # type: ignore[assignment]  # a stream has a stream protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The protocol above."""
        return self._above

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See the class."""
        match name:
            case "peer_certificate":
                return self._tls.getpeercert(binary_form=True)
            case "cipher":
                return self._tls.cipher()
            case "tls_version":
                return self._tls.version()
            case "alpn":
                return self._tls.selected_alpn_protocol()
            case "ssl_object":
                return self._tls
            case _:
                return self._tcp.get_extra_info(name, default)


_NOBODY = asyncio.Protocol()
