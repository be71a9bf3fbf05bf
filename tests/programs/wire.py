"""A server in a thread and a client beside it: what two contexts say to each other."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Serving:
    """A TLS server that greets every client by its common name and hangs up."""

    port: int
    failures: list[str] = field(default_factory=list)


@contextlib.contextmanager
def serving(context: ssl.SSLContext) -> Iterator[Serving]:
    """Serve with `context` on a port of this machine until the block ends."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = Serving(listener.getsockname()[1])
    thread = threading.Thread(target=_accept, args=(listener, context, server), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def _accept(listener: socket.socket, context: ssl.SSLContext, server: Serving) -> None:
    while True:
        try:
            tcp, _ = listener.accept()
        except OSError:
            return
        tcp.settimeout(10)
        try:
            with context.wrap_socket(tcp, server_side=True) as tls:
                tls.sendall(f"hello {common_name(tls)}\n".encode())
                with contextlib.suppress(OSError):
                    tls.unwrap()
        except (ssl.SSLError, OSError) as error:
            server.failures.append(str(error))
        finally:
            tcp.close()


def common_name(tls: ssl.SSLSocket) -> str:
    """The common name of the peer, `nobody` without a certificate."""
    shown = tls.getpeercert() or {}
    return dict(pair[0] for pair in shown.get("subject", ())).get("commonName", "nobody")  # type: ignore[misc, arg-type]


def greeting(
    port: int, context: ssl.SSLContext, name: str = "localhost", session: ssl.SSLSession | None = None
) -> tuple[str, ssl.SSLSession | None, bool]:
    """What the server says, the session it may be resumed with, and whether this one was resumed.

    Raises `ssl.SSLError` when either side refuses.
    """
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as tcp,
        context.wrap_socket(tcp, server_hostname=name, session=session) as tls,
    ):
        said = tls.recv(1000).decode()
        return said, tls.session, bool(tls.session_reused)


def refused(port: int, context: ssl.SSLContext, name: str = "localhost") -> str:
    """Why the two sides do not come together; they must not. In TLS 1.3 a client learns it at the first read."""
    try:
        said, *_ = greeting(port, context, name)
    except (ssl.SSLError, ConnectionError) as error:
        return str(error)
    if not said:  # Node hangs up without an alert
        return "hung up"
    raise AssertionError(f"they came together: {said!r}")
