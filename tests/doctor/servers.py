"""Servers in threads, with whatever is wrong with them: TLS over a directory's files, and what is no TLS at all."""

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from tests.doctor.forge import Home

Speak = Callable[[socket.socket], None]


@contextlib.contextmanager
def listening(speak: Speak, host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A server that gives every connection to `speak`, in a thread of its own."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family)
    stopped = threading.Event()

    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ssl.SSLError, ValueError), connection:
            connection.settimeout(10)
            speak(connection)

    def accept() -> None:
        while not stopped.is_set():
            ready, _, _ = select.select([listener], [], [], 0.05)
            if ready:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        stopped.set()
        thread.join(5)
        listener.close()


def context(
    home: Home, *, mutual: bool | str = False, versions: tuple[str, str] = ("TLSv1_2", "TLSv1_3"), **more: object
) -> ssl.SSLContext:
    """A server's context out of the files of `home`. `mutual`: client certificates of ca.crt (or of the file named) are required."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.set_ciphers(str(more.get("ciphers", "DEFAULT:@SECLEVEL=0")))
    made.load_cert_chain(home.file("server.crt"), home.file("server.key"))
    made.minimum_version, made.maximum_version = (getattr(ssl.TLSVersion, one) for one in versions)
    if mutual:
        made.load_verify_locations(home.file(mutual if isinstance(mutual, str) else "ca.crt"))
        made.verify_mode = ssl.CERT_REQUIRED
        made.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        if (home.path / "crl.pem").exists():
            made.load_verify_locations(home.file("crl.pem"))
            made.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
    if alpn := more.get("alpn"):
        made.set_alpn_protocols(list(alpn))  # type: ignore[call-overload]
    return made


def answer(status: str, body: bytes = b"", *headers: str, skew: timedelta = timedelta(0)) -> bytes:
    date = format_datetime(datetime.now(UTC) + skew, usegmt=True)
    lines = [f"HTTP/1.1 {status}", f"Date: {date}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def http(
    *, ca: bytes = b"", skew: timedelta = timedelta(0), status: str = "404 Not Found", headers: tuple[str, ...] = ()
) -> Speak:
    """An HTTP server: /ca.crt is `ca`, if it is one; everything else `status`."""

    def speak(connection: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            piece = connection.recv(65536)
            if not piece:
                return
            head += piece
        if ca and head.startswith(b"GET /ca.crt "):
            connection.sendall(answer("200 OK", ca, skew=skew))
        else:
            connection.sendall(answer(status, b"nothing here\n", *headers, skew=skew))
        if isinstance(connection, ssl.SSLSocket):
            with contextlib.suppress(OSError):
                connection.unwrap()

    return speak


def tls(made: ssl.SSLContext | Callable[[], ssl.SSLContext], inner: Speak | None = None) -> Speak:
    """`inner` over TLS."""
    speak_inside = inner or http()

    def speak(connection: socket.socket) -> None:
        chosen = made if isinstance(made, ssl.SSLContext) else made()
        with chosen.wrap_socket(connection, server_side=True) as wrapped:
            speak_inside(wrapped)

    return speak


def says(octets: bytes, *, first: bool = False) -> Speak:
    """A server that speaks no TLS: `octets` at once (`first`), or as the answer to whatever comes."""

    def speak(connection: socket.socket) -> None:
        if not first and not connection.recv(65536):
            return
        connection.sendall(octets)
        with contextlib.suppress(OSError):
            while connection.recv(65536):
                pass

    return speak


def silent(connection: socket.socket) -> None:
    """Takes everything and says nothing."""
    with contextlib.suppress(OSError):
        while connection.recv(65536):
            pass


def hangs_up(connection: socket.socket) -> None:
    """Closes at once."""


@contextlib.contextmanager
def dropping() -> Iterator[int]:
    """A port whose packets are dropped: its queue of connections is full and nobody accepts (net.ipv4.tcp_abort_on_overflow is 0)."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield int(listener.getsockname()[1])
