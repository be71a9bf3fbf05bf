"""Safe by design: nothing secret to the wrong party, nothing followed, time and octets bounded, everything that is read hostile."""

import base64
import contextlib
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from edgeward.transports import doctor as adapter
from tests.doctor import servers
from tests.doctor.forge import CLIENT, SERVER, Home, Made, make, root
from tests.doctor.servers import context, http, listening, tls
from tests.support.cli import Ran, run

CA, OTHER = root(), root("Other CA")
GOOD = make("server", CA, names=["127.0.0.1"], usages=[SERVER])
DEVICE = make("system:node:edge-1", CA, organization="system:nodes", usages=[CLIENT])
SECRET = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I"


def token(ca: Made = CA) -> str:
    return f"{sha256(ca.der).hexdigest()}.0123456789abcdef.-.{SECRET}"


class Listening:
    """A server that remembers every octet it was told inside TLS."""

    def __init__(self, *, ca: Made, answer: bytes = b"") -> None:
        self.heard: list[bytes] = []
        self._ca = ca
        self._answer = answer

    def __call__(self, connection: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            piece = connection.recv(65536)
            if not piece:
                return
            head += piece
        self.heard.append(head)
        if head.startswith(b"GET /ca.crt "):
            connection.sendall(servers.answer("200 OK", self._ca.der))
        else:
            connection.sendall(self._answer or servers.answer("401 Unauthorized", b"the token is not valid here\n"))
        if isinstance(connection, ssl.SSLSocket):
            with contextlib.suppress(OSError):
                connection.unwrap()

    @property
    def was_told_the_secret(self) -> bool:
        return any(SECRET.encode() in one for one in self.heard)


def ask(home: Home, heard: Listening, *more: str, told: str) -> tuple[Ran, list[str]]:
    (home.path / "token").write_text(told)
    with listening(tls(context(home), heard)) as port:
        ran = run(
            "doctor", f"127.0.0.1:{port}", "--token", f"@{home.file('token')}", "--node", "edge-1", "--json", *more
        )
    return ran, [one["id"] for one in json.loads(ran.octets)["findings"]]


def test_a_token_goes_to_the_server_that_it_pins(tmp_path: Path) -> None:
    heard = Listening(ca=CA)
    _, found = ask(Home(tmp_path).server(GOOD), heard, told=token())
    assert heard.was_told_the_secret
    assert found[0] == "token-unknown"
    (asked,) = [one for one in heard.heard if SECRET.encode() in one]
    assert asked.startswith(b"GET /edge.crt ")


def test_a_token_is_not_sent_to_a_server_whose_ca_it_does_not_pin(tmp_path: Path) -> None:
    heard = Listening(ca=OTHER)
    _, found = ask(Home(tmp_path).server(make("server", OTHER, names=["127.0.0.1"])), heard, told=token())
    assert found[0] == "token-other-ca"
    assert not heard.was_told_the_secret


def test_a_token_is_not_sent_through_a_proxy_that_shows_the_right_ca_file(tmp_path: Path) -> None:
    """It passes /ca.crt on, so the hash agrees, and ends TLS itself."""
    heard = Listening(ca=CA)
    _, found = ask(Home(tmp_path).server(make("proxy", OTHER, names=["127.0.0.1"])), heard, told=token())
    assert found[0] == "tls-intercepted"
    assert not heard.was_told_the_secret


def test_a_token_is_not_sent_to_a_server_that_changes_its_certificate_meanwhile(tmp_path: Path) -> None:
    """The first handshakes show the right server, every later one another, as a balancer with an impostor behind it would."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = Home(tmp_path / "a").server(GOOD)
    later = Home(tmp_path / "b").server(make("impostor", OTHER, names=["127.0.0.1"]))
    heard, seen = Listening(ca=CA), 0

    def turn() -> ssl.SSLContext:
        nonlocal seen
        seen += 1
        return context(first if seen <= 1 else later)

    (tmp_path / "token").write_text(token())
    with listening(tls(turn, heard)) as port:
        run("doctor", f"127.0.0.1:{port}", "--token", f"@{tmp_path}/token", "--json")
    assert seen > 2
    assert not heard.was_told_the_secret


@pytest.mark.parametrize(
    "told", [token()[:120], token() + ".x", "Bearer " + token(), token().replace(".", "\n", 1), ""]
)
def test_what_is_no_whole_token_is_not_sent_and_never_repeated(tmp_path: Path, told: str) -> None:
    heard = Listening(ca=CA)
    ran, found = ask(Home(tmp_path).server(GOOD), heard, told=told)
    assert found[0] == "token-form"
    assert not any(b"Authorization" in one for one in heard.heard)
    assert SECRET not in ran.out + ran.err


def test_a_token_never_shows_in_any_output(tmp_path: Path) -> None:
    heard = Listening(ca=CA, answer=servers.answer("401 Unauthorized", f"token {SECRET} bad".encode()))
    html = tmp_path / "page.html"
    ran, _ = ask(Home(tmp_path).server(GOOD), heard, "--trace", "--html", str(html), told=token())
    assert SECRET not in ran.out + ran.err + html.read_text()


def test_a_private_key_stays_here(tmp_path: Path) -> None:
    """Every octet that leaves, in the clear and inside TLS, is looked at for the key's."""
    home = Home(tmp_path).server(GOOD).trusts(CA).client(DEVICE)
    numbers = DEVICE.key.private_numbers().private_value.to_bytes(32, "big")
    pem = DEVICE.key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    heard, wire = Listening(ca=CA), []

    def speak(connection: socket.socket) -> None:
        peeked = connection.recv(65536, socket.MSG_PEEK)
        wire.append(peeked)
        tls(context(home, mutual=True), heard)(connection)

    with listening(speak) as port:
        ran = run(
            "doctor",
            f"127.0.0.1:{port}",
            "--ca",
            home.file("ca.crt"),
            "--cert",
            home.file("client.crt"),
            "--key",
            home.file("client.key"),
        )
    everything = b"".join([*wire, *heard.heard])
    for secret in (numbers, pem, base64.b64encode(pem), numbers.hex().encode()):
        assert secret not in everything
        assert secret not in ran.octets
    assert heard.heard  # it did connect with it


def test_no_redirect_is_followed(tmp_path: Path) -> None:
    home, elsewhere = Home(tmp_path).server(GOOD).trusts(CA), []
    with listening(lambda connection: elsewhere.append(connection.recv(100))) as trap:
        moved = http(status="301 Moved Permanently", headers=(f"Location: http://127.0.0.1:{trap}/",))
        with listening(tls(context(home), moved)) as port:
            ran = run("doctor", f"127.0.0.1:{port}", "--ca", home.file("ca.crt"), "--json")
    assert [one["id"] for one in json.loads(ran.octets)["findings"]] == ["redirects"]
    assert not elsewhere


@contextlib.contextmanager
def pouring(octets: bytes, made: ssl.SSLContext | None) -> Iterator[tuple[int, list[int]]]:
    """A server that never stops sending; how much it could send."""
    sent: list[int] = []

    def speak(connection: socket.socket) -> None:
        count = 0
        sent.append(0)
        connection.recv(65536)
        with contextlib.suppress(OSError):
            while count < 1 << 28:
                connection.sendall(octets)
                count += len(octets)
                sent[-1] = count

    with listening(tls(made, speak) if made is not None else speak) as port:
        yield port, sent


def test_an_endless_answer_is_read_to_a_bound(tmp_path: Path) -> None:
    home = Home(tmp_path).server(GOOD).trusts(CA)
    with pouring(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(65536), context(home)) as (port, sent):
        run("doctor", f"127.0.0.1:{port}", "--ca", home.file("ca.crt"), "--timeout", "5")
    assert max(sent) < 64 * adapter.MAX_ANSWER  # what the sockets buffer comes on top


def test_endless_garbage_in_the_clear_is_read_to_a_bound() -> None:
    with pouring(b"lorem ipsum " * 5000, None) as (port, sent):
        ran = run("doctor", f"127.0.0.1:{port}", "--json", "--timeout", "5")
    assert json.loads(ran.octets)["findings"][0]["id"] == "not-tls"
    assert max(sent) < 1 << 25


def test_a_server_that_drips_is_left_after_the_time() -> None:
    """One octet at a time, for ever: each would start a new wait if the time were counted from the last one."""
    done = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.recv(65536)
        with contextlib.suppress(OSError):
            connection.sendall(b"\x16\x03\x03\x40\x00")
            while not done.wait(0.05):
                connection.sendall(b"\x02")

    with listening(drip) as port:
        began = time.monotonic()
        ran = run("doctor", f"127.0.0.1:{port}", "--json", "--timeout", "0.5")
        took = time.monotonic() - began
        done.set()
    assert json.loads(ran.octets)["findings"][0]["severity"] == "error"
    assert took < 30


HOSTILE = "\x1b[2J\x1b]0;owned\x07\u202egnp.exe\r\nerror: forged"


def test_hostile_text_cannot_move_the_terminal(tmp_path: Path) -> None:
    evil = make(HOSTILE, CA, names=["dns:a;reboot", "uri:x:\x1b[31m", "127.0.0.9"])
    home = Home(tmp_path).server(evil).trusts(CA)
    refusal = http(status="403 Forbidden\x1b[31m", headers=("Location: \x1b[2J",))
    with listening(tls(context(home), refusal)) as port:
        shown = run("doctor", f"127.0.0.1:{port}", "--ca", home.file("ca.crt"), "--trace").out
        told = run("doctor", f"127.0.0.1:{port}", "--ca", home.file("ca.crt"), "--trace", "--json").out
    for text in (shown, told):
        assert "\x1b" not in text and "\x07" not in text and "\u202e" not in text
        assert "\nerror: forged" not in text


@pytest.mark.parametrize(
    "banner", [b"HTTP/1.1 \x1b[2J 200 OK\r\n\r\n", b"\x1b]0;owned\x07", b"SSH-2.0-\x1b[31m\r\n", bytes(range(256))]
)
def test_hostile_banners_are_escaped(banner: bytes) -> None:
    with listening(servers.says(banner, first=True)) as port:
        ran = run("doctor", f"127.0.0.1:{port}", "--timeout", "1")
    assert ran.status == 1
    assert "\x1b" not in ran.out and "\x07" not in ran.out


def test_garbage_inside_tls_records_is_a_finding_and_no_traceback() -> None:
    junk = iter([os.urandom(n) for n in (1, 5, 50, 500)] * 20)

    def speak(connection: socket.socket) -> None:
        connection.recv(65536)
        body = next(junk)
        connection.sendall(b"\x16\x03\x03" + len(body).to_bytes(2, "big") + body)

    with listening(speak) as port:
        for _ in range(4):
            ran = run("doctor", f"127.0.0.1:{port}", "--timeout", "1", "--json")
            assert ran.status == 1, ran.err
            assert json.loads(ran.octets)["findings"][0]["severity"] == "error"


def test_names_that_are_no_hosts_are_refused(tmp_path: Path) -> None:
    for host in ("a" * 64 + ".example:1", "\u2028:1", "ä" * 100 + ":1", "%00:1"):
        ran = run("doctor", host, "--timeout", "1")
        assert ran.status in (1, 2), (host, ran.err)
        assert "Traceback" not in ran.err and "internal error" not in ran.err


def test_files_that_are_not_what_they_should_be(tmp_path: Path) -> None:
    empty: Any = tmp_path / "empty"
    empty.write_bytes(b"")
    ran = run("doctor", "127.0.0.1:1", "--ca", str(empty))
    assert ran.status == 65 and "Traceback" not in ran.err
    assert run("doctor", "127.0.0.1:1", "--ca", str(tmp_path / "none")).status == 69
    assert run("doctor", "127.0.0.1:1", "--key", "k").status == 2
