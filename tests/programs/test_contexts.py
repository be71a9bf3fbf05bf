"""`edgeward.tls`: mutual and one-way TLS out of files, what is refused, and files that change."""

import asyncio
import http.server
import logging
import os
import socket
import ssl
import threading
import urllib.request
import warnings
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)

from edgeward import tls
from edgeward.errors import EdgewardError, NotFound, Unavailable, Unreadable, UsageError, WrongPassword
from edgeward.pki.formats.item import WrongKind
from edgeward.testing import Authority, Identity, authority
from tests.programs.wire import greeting, refused, serving
from tests.support.tls import LOOPS, run

CA = authority()
SERVER = CA.server()
CLIENT = CA.client("edge-1")


def key_of(identity: Identity) -> object:
    return load_pem_private_key(identity.key, None)


# ----------------------------------------------------------------------------------------------------------------- mutual TLS


def test_a_client_of_the_ca_is_let_in_and_known_by_name() -> None:
    with serving(SERVER.server_context()) as server:
        assert greeting(server.port, CLIENT.client_context())[0] == "hello edge-1\n"
        assert greeting(server.port, CLIENT.client_context(), "127.0.0.1")[0] == "hello edge-1\n"


def test_a_client_without_a_certificate_of_another_ca_or_past_its_time_is_refused() -> None:
    stranger = CA.other().client("edge-1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tls.CertificateWarning)
        expired = CA.expired("edge-1", client=True).client_context()
    with serving(SERVER.server_context()) as server:
        assert "certificate required" in refused(server.port, tls.client_context(CA.certificate)).lower().replace(
            "_", " "
        )
        refused(server.port, stranger.client_context(ca=CA.certificate))
        refused(server.port, expired)
    assert len(server.failures) == 3
    assert "expired" in server.failures[2]


def test_a_server_certificate_does_not_pass_for_a_client_nor_a_client_one_for_a_server() -> None:
    with pytest.warns(tls.CertificateWarning, match="not for a client"):
        posing = SERVER.client_context()
    with serving(SERVER.server_context()) as server:
        refused(server.port, posing)
    with pytest.warns(tls.CertificateWarning, match="not for a server"):
        posing_server = CLIENT.server_context(mutual=False)
    with serving(posing_server) as server:
        assert "unsuitable certificate purpose" in refused(server.port, CLIENT.client_context())


def test_a_server_of_another_ca_with_another_name_or_past_its_time_is_refused() -> None:
    client = CLIENT.client_context()
    with serving(CA.other().server().server_context()) as server:
        assert "certificate verify failed" in refused(server.port, client)
    with serving(CA.wrong_name().server_context()) as server:
        assert "Hostname mismatch" in refused(server.port, client)
    with pytest.warns(tls.CertificateWarning, match="expired at"):
        expired = CA.expired().server_context()
    with serving(expired) as server:
        assert "expired" in refused(server.port, client)
    with pytest.warns(tls.CertificateWarning, match="not valid before"):
        CA.not_yet_valid().server_context()


def test_one_way_tls_asks_nothing_of_the_client() -> None:
    with serving(SERVER.server_context(mutual=False)) as server:
        assert greeting(server.port, tls.client_context(CA.certificate))[0] == "hello nobody\n"


def test_a_client_certificate_can_be_asked_for_and_not_required() -> None:
    with serving(SERVER.server_context(require_client=False)) as server:
        assert greeting(server.port, tls.client_context(CA.certificate))[0] == "hello nobody\n"
        assert greeting(server.port, CLIENT.client_context())[0] == "hello edge-1\n"
        refused(server.port, CA.other().client("edge-1").client_context(ca=CA.certificate))


def test_the_machines_roots_are_trusted_only_when_asked_for() -> None:
    assert tls.client_context(CA.certificate).get_ca_certs() != []
    with serving(SERVER.server_context(mutual=False)) as server:
        assert "certificate verify failed" in refused(server.port, tls.client_context("system"))


def test_an_intermediate_is_sent_with_the_certificate_whatever_the_order_of_the_file() -> None:
    below = CA.intermediate()
    server, client = below.server(), below.client("edge-2")
    leaf, issuer = server.certificate.split(b"-----END CERTIFICATE-----\n")[:2]
    end = b"-----END CERTIFICATE-----\n"
    mixed = tls.server_context(
        certificate=CA.certificate + issuer + end + leaf + end, key=server.key, client_ca=CA.certificate
    )
    with serving(mixed) as running:
        assert greeting(running.port, client.client_context())[0] == "hello edge-2\n"


def test_an_intermediate_alone_is_an_end_of_the_path_as_in_go() -> None:
    below = CA.intermediate()
    server = below.server()
    middle = server.certificate.split(b"-----END CERTIFICATE-----\n")[1] + b"-----END CERTIFICATE-----\n"
    with serving(server.server_context(client_ca=middle)) as running:
        assert greeting(running.port, below.client("edge-2").client_context())[0] == "hello edge-2\n"
        refused(running.port, CLIENT.client_context())


def test_a_revoked_client_is_refused() -> None:
    ca = authority()
    good, bad = ca.client("good"), ca.client("bad")
    ca.revoke(bad)
    with serving(ca.server().server_context(crl=ca.crl)) as server:
        assert greeting(server.port, good.client_context())[0] == "hello good\n"
        refused(server.port, bad.client_context())
    assert "revoked" in server.failures[0]


def test_versions_below_1_2_and_suites_without_forward_secrecy_are_gone() -> None:
    context = SERVER.server_context()
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert all("ECDHE" in c["name"] or c["protocol"] == "TLSv1.3" for c in context.get_ciphers())
    assert all(c["aead"] for c in context.get_ciphers())
    assert context.options & ssl.OP_NO_TICKET and context.num_tickets == 0


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_mutual_server_resumes_nothing(version: ssl.TLSVersion) -> None:
    client = CLIENT.client_context()
    client.maximum_version = version
    with serving(SERVER.server_context()) as server:
        _, session, _ = greeting(server.port, client)
        try:
            assert not greeting(server.port, client, session=session)[2]
        except ssl.SSLError as error:
            assert "handshake failure" in str(error).lower()
        assert greeting(server.port, client)[0] == "hello edge-1\n"


def test_tls_1_2_would_resume_without_the_refusal() -> None:
    client = CLIENT.client_context()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    context = SERVER.server_context()
    context.sni_callback = None
    with serving(context) as server:
        _, session, _ = greeting(server.port, client)
        assert greeting(server.port, client, session=session)[2], "then the refusal is not needed any more"


# -------------------------------------------------------------------------------------------------------------------- inputs


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize("password", [None, b"secret"])
@pytest.mark.parametrize("kind", ["ec:P-256", "rsa:2048"])
def test_keys_of_every_form_are_read(tmp_path: Path, form: PrivateFormat, password: bytes | None, kind: str) -> None:
    server = authority(key=kind).server()
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    key = tmp_path / "server.key"
    key.write_bytes(key_of(server).private_bytes(Encoding.PEM, form, encryption))  # type: ignore[attr-defined]
    context = tls.server_context(certificate=server.certificate, key=key, client_ca=server.ca, password=password)
    with serving(context) as running:
        refused(
            running.port, tls.client_context(server.ca)
        )  # it serves: the refusal is the client's missing certificate
    assert "peer did not return a certificate" in running.failures[0]
    if password:
        with pytest.raises(tls.KeyLocked, match=r"server\.key is encrypted"):
            tls.server_context(certificate=server.certificate, key=key)
        with pytest.raises(WrongPassword, match=r"server\.key"):
            tls.server_context(certificate=server.certificate, key=key, password="wrong")


def test_a_pkcs12_has_both(tmp_path: Path) -> None:
    store = tmp_path / "server.p12"
    store.write_bytes(
        pkcs12.serialize_key_and_certificates(
            b"server",
            key_of(SERVER),
            SERVER.x509,
            None,
            BestAvailableEncryption(b"secret"),  # type: ignore[arg-type]
        )
    )
    with serving(tls.server_context(certificate=store, client_ca=CA.certificate, password="secret")) as server:
        assert greeting(server.port, CLIENT.client_context())[0] == "hello edge-1\n"
    with pytest.raises(WrongPassword):
        tls.server_context(certificate=store, password="wrong")
    with pytest.raises(tls.KeyLocked):
        tls.server_context(certificate=store)


def test_der_and_text_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "ca.der").write_bytes(ssl.PEM_cert_to_DER_cert(CA.certificate.decode()))
    context = tls.client_context(tmp_path / "ca.der", certificate=CLIENT.certificate.decode(), key=CLIENT.key.decode())
    with serving(SERVER.server_context()) as server:
        assert greeting(server.port, context)[0] == "hello edge-1\n"


def test_a_key_of_another_certificate_is_said_with_both_names() -> None:
    with pytest.raises(tls.PairMismatch, match="belongs to no certificate in") as caught:
        tls.server_context(certificate=SERVER.certificate_path, key=CLIENT.key_path)
    assert (
        caught.value.hint
        == f"see which belong together: edgeward key match {CLIENT.key_path} {SERVER.certificate_path}"
    )


@pytest.mark.parametrize(
    ("certificate", "key", "client_ca", "error"),
    [
        ("/nowhere/server.crt", None, None, NotFound),
        (b"", None, None, Unreadable),
        (b"hello", None, None, Unreadable),
        (SERVER.certificate[:200], SERVER.key, None, Unreadable),
        (SERVER.certificate, None, None, WrongKind),
        (SERVER.key, SERVER.key, None, WrongKind),
        (SERVER.certificate, SERVER.key + CLIENT.key, None, WrongKind),
        (SERVER.certificate, SERVER.certificate, None, WrongKind),
        (SERVER.certificate, SERVER.key, b"", Unreadable),
        (SERVER.certificate, SERVER.key, "", UsageError),
        (SERVER.certificate, SERVER.key, CLIENT.key, WrongKind),
        (SERVER.certificate, SERVER.key, "/nowhere/ca.crt", NotFound),
    ],
)
def test_wrong_inputs_are_one_clear_error(certificate: object, key: object, client_ca: object, error: type) -> None:
    with pytest.raises(error) as caught:
        tls.server_context(certificate=certificate, key=key, client_ca=client_ca)  # type: ignore[arg-type]
    assert isinstance(caught.value, EdgewardError)
    assert "PRIVATE" not in str(caught.value)


def test_requiring_clients_without_saying_whose_is_an_error() -> None:
    with pytest.raises(UsageError, match="client_ca"):
        tls.server_context(certificate=SERVER.certificate, key=SERVER.key, require_client=True)
    with pytest.raises(UsageError, match="client_ca"):
        tls.server_context(certificate=SERVER.certificate, key=SERVER.key, crl=CA.crl)
    with pytest.raises(UsageError, match="certificate"):
        tls.client_context(CA.certificate, key=CLIENT.key)


def test_nothing_where_something_is_needed_is_no_context_that_trusts_nobody_or_everybody() -> None:
    with pytest.raises(UsageError, match="whom to believe"):
        tls.client_context(None)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="needs a certificate"):
        tls.server_context(certificate=None)  # type: ignore[arg-type]
    with pytest.raises(Unavailable, match="null byte"):
        tls.server_context(certificate="a\0b")


# -------------------------------------------------------------------------------------------------------------------- reload


def put(directory: Path, ca: Authority, identity: Identity) -> None:
    """The three files, each replaced whole, as a careful program does."""
    for name, octets in (("tls.crt", identity.certificate), ("tls.key", identity.key), ("ca.crt", ca.certificate)):
        (directory / "new").write_bytes(octets)
        (directory / "new").replace(directory / name)


def test_a_server_uses_changed_files_from_the_next_handshake_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = authority("one"), authority("two")
    put(tmp_path, old, old.server())
    context = tls.server_context(
        certificate=tmp_path / "tls.crt", key=tmp_path / "tls.key", client_ca=tmp_path / "ca.crt", alpn=["h2"]
    )
    before, after = old.client("before").client_context(), new.client("after").client_context(alpn=["h2"])
    with serving(context) as server, caplog.at_level(logging.INFO, "edgeward.tls"):
        assert greeting(server.port, before)[0] == "hello before\n"
        refused(server.port, after)
        put(tmp_path, new, new.server())
        assert greeting(server.port, after)[0] == "hello after\n"
        refused(server.port, before)
        refused(server.port, old.client("before").client_context(ca=new.certificate))
    assert "read the changed certificate files again" in caplog.text
    assert context._follower is not None and context._follower.inner is not None
    with serving(context) as server:
        tcp = socket.create_connection(("127.0.0.1", server.port))
        with after.wrap_socket(tcp, server_hostname="localhost") as tls_socket:
            assert tls_socket.selected_alpn_protocol() == "h2"


def test_a_half_written_pair_changes_nothing_until_it_is_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, CA, SERVER)
    context = tls.server_context(
        certificate=tmp_path / "tls.crt", key=tmp_path / "tls.key", client_ca=tmp_path / "ca.crt"
    )
    fresh = CA.server()
    with serving(context) as server:
        (tmp_path / "tls.crt").write_bytes(fresh.certificate)
        assert greeting(server.port, CLIENT.client_context())[0] == "hello edge-1\n"
        assert "the old ones stay" in caplog.text
        with pytest.raises(tls.PairMismatch):
            context.reload()
        os.truncate(tmp_path / "ca.crt", 0)
        assert greeting(server.port, CLIENT.client_context())[0] == "hello edge-1\n"
        refused(server.port, tls.client_context(CA.certificate))
        put(tmp_path, CA, fresh)
        assert greeting(server.port, CLIENT.client_context())[0] == "hello edge-1\n"
        context.reload()


def test_a_client_uses_changed_files_too(tmp_path: Path) -> None:
    put(tmp_path, CA, CLIENT)
    context = tls.client_context(tmp_path / "ca.crt", certificate=tmp_path / "tls.crt", key=tmp_path / "tls.key")
    with serving(SERVER.server_context()) as server:
        assert greeting(server.port, context)[0] == "hello edge-1\n"
        put(tmp_path, CA, CA.client("edge-1-renewed"))
        assert greeting(server.port, context)[0] == "hello edge-1-renewed\n"
        (tmp_path / "tls.key").unlink()
        assert greeting(server.port, context)[0] == "hello edge-1-renewed\n"


# ------------------------------------------------------------------------------------------------- what programs are made of


def test_asyncio_speaks_through_them_and_reloads(tmp_path: Path) -> None:
    put(tmp_path, CA, SERVER)
    context = tls.server_context(
        certificate=tmp_path / "tls.crt", key=tmp_path / "tls.key", client_ca=tmp_path / "ca.crt"
    )

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(str(writer.get_extra_info("peercert")["serialNumber"]).encode())
        writer.close()

    async def ask(port: int, client: Identity) -> str:
        reader, writer = await asyncio.open_connection("localhost", port, ssl=client.client_context())
        said = await reader.read()
        writer.close()
        return said.decode()

    async def main() -> None:
        listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        port = listener.sockets[0].getsockname()[1]
        assert int(await ask(port, CLIENT), 16) == CLIENT.x509.serial_number
        other = CA.other()
        put(tmp_path, other, other.server())
        client = other.client("edge-2")
        assert int(await ask(port, client), 16) == client.x509.serial_number
        listener.close()

    asyncio.run(main())


def test_the_standard_http_server_and_urllib(tmp_path: Path) -> None:
    class Greeter(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Greeter)
    server.socket = SERVER.server_context().wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"https://localhost:{server.server_port}/"
    with urllib.request.urlopen(address, context=CLIENT.client_context(), timeout=10) as answer:
        assert answer.read() == b"hello"
    with pytest.raises(OSError):
        urllib.request.urlopen(address, context=tls.client_context(CA.certificate), timeout=10)
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("loop", sorted(LOOPS))
def test_both_event_loops_reload(tmp_path: Path, loop: str) -> None:
    put(tmp_path, CA, SERVER)
    context = tls.server_context(
        certificate=tmp_path / "tls.crt", key=tmp_path / "tls.key", client_ca=tmp_path / "ca.crt"
    )

    async def main() -> None:
        listener = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
        port = listener.sockets[0].getsockname()[1]
        for ca in (CA, CA.other(), CA.other()):
            server = ca.server()
            put(tmp_path, ca, server)
            _, writer = await asyncio.open_connection("localhost", port, ssl=ca.client("edge-1").client_context())
            shown = writer.get_extra_info("ssl_object").getpeercert()["serialNumber"]
            assert int(shown, 16) == server.x509.serial_number
            writer.close()
        listener.close()

    run(main(), loop)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_pool_is_that_of_the_changed_file_in_both_versions(tmp_path: Path, version: ssl.TLSVersion) -> None:
    old, new = CA.client("old"), CA.other()
    put(tmp_path, CA, SERVER)
    context = tls.server_context(certificate=SERVER.certificate, key=SERVER.key, client_ca=tmp_path / "ca.crt")
    before, after = old.client_context(), new.client("new").client_context(ca=CA.certificate)
    before.maximum_version = after.maximum_version = version
    with serving(context) as server:
        assert greeting(server.port, before)[0] == "hello old\n"
        put(tmp_path, new, SERVER)
        refused(server.port, before)
        assert greeting(server.port, after)[0] == "hello new\n"
    assert any("certificate verify failed" in failure for failure in server.failures)
