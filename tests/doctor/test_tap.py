"""The private hook of Python's ssl module: if it changes, this fails before the doctor does."""

import ssl

import pytest

from edgeward.testing import authority
from edgeward.transports import tls_messages
from edgeward.transports.tap import ALERT, HANDSHAKE, MAX_HEARD, Tap

CA = authority()
SERVER, CLIENT = CA.server("localhost"), CA.client("edge-1")
MUTUAL = {
    "TLSv1_2": [
        "client ClientHello", "server ServerHello", "server Certificate", "server ServerKeyExchange", "server CertificateRequest",
        "server ServerHelloDone", "client Certificate", "client ClientKeyExchange", "client CertificateVerify", "client Finished",
        "server Finished",
    ],
    "TLSv1_3": [
        "client ClientHello", "server ServerHello", "server EncryptedExtensions", "server CertificateRequest", "server Certificate",
        "server CertificateVerify", "server Finished", "client Certificate", "client CertificateVerify", "client Finished",
    ],
}  # fmt: skip


def shake(version: str, *, pair: bool = True) -> Tap:
    """A mutual handshake in memory, heard from the client's side."""
    tap = Tap()
    client = tap.on(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    client.options |= ssl.OP_NO_TICKET
    client.minimum_version = client.maximum_version = getattr(ssl.TLSVersion, version)
    if pair:
        client.load_cert_chain(CLIENT.certificate_path, CLIENT.key_path)
    server = SERVER.server_context()
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(down, up, server_hostname="localhost")
    theirs = server.wrap_bio(up, down, server_side=True)
    for _ in range(6):
        for side in (ours, theirs):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                return tap
    return tap


@pytest.mark.parametrize("version", MUTUAL)
def test_every_message_is_heard_decrypted_and_in_order(version: str) -> None:
    tap = shake(version)
    assert {kind for _, kind, _ in tap.heard} == {HANDSHAKE}
    messages = tls_messages.read(tap.heard, version == "TLSv1_3")
    heard = [f"{one.sender} {one.name}" for one in messages if one.name != "NewSessionTicket"]
    assert heard == MUTUAL[version]
    assert tls_messages.negotiated(tap.heard) == version.replace("_", ".")
    sent = tls_messages.body_of(tap.heard, "server", 11)
    assert sent is not None
    leaf = tls_messages.certificates(sent, version == "TLSv1_3")[0]
    assert leaf == ssl.PEM_cert_to_DER_cert(
        SERVER.certificate.decode().partition("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"
    )


def test_an_alert_is_heard() -> None:
    tap = shake("TLSv1_2", pair=False)
    tap.heard.append(("server", ALERT, b"\x02\x28"))
    found = tls_messages.last_alert(tap.heard, "server")
    assert found is not None and (found.code, found.fatal) == (40, True)


def test_nothing_of_keys_or_application_data_is_kept() -> None:
    secret = CLIENT.key.split(b"\n")[1][:40]
    assert not any(secret in octets for _, _, octets in shake("TLSv1_3").heard)


def test_what_is_kept_is_bounded() -> None:
    tap = Tap()
    for _ in range(20):
        tap._message(None, "read", None, HANDSHAKE, None, bytes(MAX_HEARD // 10))
    assert sum(len(octets) for _, _, octets in tap.heard) <= MAX_HEARD


@pytest.mark.parametrize("cut", range(0, 200, 7))
def test_messages_that_are_cut_short_are_named_and_raise_nothing(cut: int) -> None:
    for tls13 in (False, True):
        for number in range(25):
            body = bytes((number * 37 + place) % 251 for place in range(cut))
            (message,) = tls_messages.read(
                [("server", 22, bytes((number,)) + len(body).to_bytes(3, "big") + body)], tls13
            )
            assert message.name
            tls_messages.certificates(body, tls13)
            tls_messages.authorities(body, tls13)
            tls_messages.negotiated([("server", 22, b"\x02\x00\x00\x00" + body)])
