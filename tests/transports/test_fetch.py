"""T-56: what is fetched by the address in a certificate is bounded, and never from where its maker should not reach."""

import contextlib
import http.server
import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from edgeward.errors import EdgewardError, TooLarge, Unreachable
from edgeward.transports import fetch
from edgeward.transports.fetch import NotAllowed

Handler = http.server.BaseHTTPRequestHandler


@contextlib.contextmanager
def serving(answer: Callable[[Handler], None]) -> Iterator[int]:
    """The port of a server that answers every GET with `answer`."""

    class Answering(Handler):
        def do_GET(self) -> None:
            with contextlib.suppress(OSError):
                answer(self)

        def log_message(self, format: str, *args: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def saying(body: bytes, status: int = 200, **headers: str) -> Callable[[Handler], None]:
    def answer(request: Handler) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)

    return answer


def test_a_file_is_fetched_from_a_private_network_when_that_is_allowed() -> None:
    with serving(saying(b"the issuer")) as port:
        assert fetch.fetch(f"http://127.0.0.1:{port}/ca.der", private=True).body == b"the issuer"
        with pytest.raises(NotAllowed, match=r"127\.0\.0\.1 is not on the public Internet"):
            fetch.fetch(f"http://127.0.0.1:{port}/ca.der")


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]"],
)
def test_t56_this_machine_is_not_fetched_from_however_it_is_written(host: str) -> None:
    with pytest.raises(EdgewardError):
        fetch.fetch(f"http://{host}:8080/")


@pytest.mark.parametrize(
    ("address", "public", "private"),
    [
        ("93.184.215.14", True, True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True, True),
        ("10.0.0.1", False, True),
        ("192.168.1.1", False, True),
        ("172.16.0.1", False, True),
        ("100.64.0.1", False, True),
        ("fd00::1", False, True),
        ("127.0.0.1", False, True),
        ("::1", False, True),
        ("169.254.169.254", False, False),
        ("fe80::1", False, False),
        ("fec0::1", False, True),
        ("fd00:ec2::254", False, False),
        ("100.100.100.200", False, False),
        ("168.63.129.16", False, False),
        ("::ffff:169.254.169.254", False, False),
        ("64:ff9b::a9fe:a9fe", False, False),
        ("64:ff9b::7f00:1", False, True),
        ("2002:7f00:1::", False, True),
        ("0.0.0.0", False, False),
        ("::", False, False),
        ("224.0.0.1", False, False),
        ("ff02::1", False, False),
        ("255.255.255.255", False, False),
    ],
)
def test_t56_which_addresses_are_dialled(address: str, public: bool, private: bool) -> None:
    one = ipaddress.ip_address(address)
    assert (fetch.allowed(one, private=False), fetch.allowed(one, private=True)) == (public, private)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com:70/",
        "ldap://example.com/cn=x",
        "http://",
        "http:///x",
        "http://user@example.com/",
        "http://example.com:25/",
        "http://example.com:443/",
        "http://example.com:99999/",
        "http://example.com/a b",
        "http://example.com/\r\nHost: other",
        "",
        "x",
    ],
)
def test_t56_what_is_no_plain_http_url_is_refused_before_anything_is_resolved(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolved(*_: object, **__: object) -> None:
        raise AssertionError("it was resolved")

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    with pytest.raises(NotAllowed):
        fetch.fetch(url, private=True)


def test_t56_a_redirect_is_judged_like_the_first_address() -> None:
    for target in ("http://169.254.169.254/latest", "file:///etc/passwd", "http://127.0.0.1:22/"):
        with serving(saying(b"", 302, Location=target)) as port, pytest.raises(NotAllowed):
            fetch.fetch(f"http://127.0.0.1:{port}/", private=True)


def test_t56_redirects_end() -> None:
    with serving(saying(b"", 301, Location="/again")) as port, pytest.raises(Unreachable, match="redirects"):
        fetch.fetch(f"http://127.0.0.1:{port}/", private=True)


def test_t56_a_name_is_resolved_once_and_all_its_addresses_must_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def both(*_: object, **__: object) -> list[object]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14", 80)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80)),
        ]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    with pytest.raises(NotAllowed, match=r"127\.0\.0\.1"):
        fetch.fetch("http://rebinding.example/")


def test_t56_too_much_is_not_read() -> None:
    with serving(saying(b"x" * (fetch.MAX_OCTETS + 1))) as port, pytest.raises(TooLarge):
        fetch.fetch(f"http://127.0.0.1:{port}/", private=True)


@pytest.mark.parametrize("part", ["headers", "body"])
def test_t56_a_server_that_dribbles_is_cut_off(part: str) -> None:
    stop = threading.Event()

    def dribble(request: Handler) -> None:
        if part == "body":
            request.send_response(200)
            request.end_headers()
        while not stop.wait(0.05):
            request.wfile.write(b"x")
            request.wfile.flush()

    with serving(dribble) as port:
        began = time.monotonic()
        with pytest.raises(Unreachable, match="too long"):
            fetch.fetch(f"http://127.0.0.1:{port}/", private=True, seconds=0.5)
        stop.set()
        assert time.monotonic() - began < 30


def test_an_answer_that_is_none_is_said_to_be() -> None:
    with serving(saying(b"", 404)) as port, pytest.raises(Unreachable, match="answers 404"):
        fetch.fetch(f"http://127.0.0.1:{port}/", private=True)
    with pytest.raises(Unreachable):
        fetch.fetch("http://127.0.0.1:1024/", private=True)
