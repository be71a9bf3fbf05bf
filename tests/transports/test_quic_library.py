"""What we rely on in aioquic. When one of these fails after an upgrade, read `transports/quic_library.py` before anything else."""

import datetime as dt
import time

import pytest
from aioquic import tls
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import load_der_x509_certificate
from cryptography.x509.oid import ExtendedKeyUsageOID

from edgeward.errors import CertificateRefused
from edgeward.pki import client
from edgeward.transports.quic_library import ALPN, Connection
from tests.support.fake_cloud import DAY, NOW, FakeCA

CA, OTHER = FakeCA(), FakeCA()
SERVER_KEY, DEVICE_KEY = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
SERVER = CA.server("127.0.0.1", key=SERVER_KEY)
ADDRESS = ("127.0.0.1", 4433)


def device(ca: FakeCA = CA, key=DEVICE_KEY, **fields):
    return load_der_x509_certificate(ca.device(key.public_key(), "edge-1", **fields))


def verify(certificate) -> None:
    client.verify(certificate, [CA.der], dt.datetime.now(dt.UTC))


def server(verifier=verify, kind=Connection, **rest) -> QuicConnection:
    configuration = QuicConfiguration(alpn_protocols=[ALPN], is_client=False)
    configuration.certificate, configuration.private_key = SERVER, SERVER_KEY
    more = {"verify": verifier} if kind is Connection else {}
    return kind(configuration=configuration, original_destination_connection_id=bytes(8), **more, **rest)


def dialled(certificate, key=DEVICE_KEY, *, alpn: str = ALPN, chain=(), **rest) -> QuicConnection:
    configuration = QuicConfiguration(
        alpn_protocols=[alpn], is_client=True, verify_mode=0, server_name="127.0.0.1", **rest
    )
    configuration.certificate, configuration.private_key = certificate, key
    configuration.certificate_chain = list(chain)
    return Connection(configuration=configuration, verify=None)


def shake(one: QuicConnection, other: QuicConnection) -> tuple[list, list]:
    """Let the two exchange datagrams until nobody has anything to say; what happened to each."""
    other._original_destination_connection_id = one.original_destination_connection_id
    one.connect(ADDRESS, now=time.time())
    seen: tuple[list, list] = ([], [])
    for _ in range(12):
        for sender, receiver, place in ((one, other, 0), (other, one, 1)):
            for data, _ in sender.datagrams_to_send(now=time.time()):
                receiver.receive_datagram(data, ("127.0.0.1", 1234 if place == 0 else ADDRESS[1]), now=time.time())
            for each, events in zip((one, other), seen, strict=True):
                while (event := each.next_event()) is not None:
                    events.append(event)
    return seen


def completed(events: list) -> bool:
    return any(isinstance(event, HandshakeCompleted) for event in events)


def why(connection: QuicConnection) -> str:
    return "" if connection._close_event is None else connection._close_event.reason_phrase


def test_a_device_of_ours_is_proved():
    shown = device()
    theirs, ours = dialled(shown), server()
    client_saw, server_saw = shake(theirs, ours)
    assert completed(client_saw) and completed(server_saw)
    assert load_der_x509_certificate(ours.proved()) == shown
    assert [load_der_x509_certificate(der) for der in theirs.presented()] == [SERVER]
    assert dialled(device()).proved() is None, "before anything happened"


@pytest.mark.parametrize(
    ("certificate", "words"),
    [
        (None, "no client certificate was presented"),
        (device(OTHER), "not signed by a CA of this authority"),
        (device(start=NOW - 2 * DAY, end=NOW - DAY), "it is valid from"),
        (device(start=NOW + DAY), "it is valid from"),
        (device(usages=()), "it is not for clients"),
        (device(usages=(ExtendedKeyUsageOID.SERVER_AUTH,)), "it is not for clients"),
        (CA.certificate, "it is a CA certificate"),
    ],
    ids=["none", "foreign", "expired", "not yet", "no usages", "of a server", "the CA's own"],
)
def test_t36_a_certificate_that_is_not_a_devices_of_ours_ends_the_handshake_with_the_reason(certificate, words):
    key = CA.key if certificate is CA.certificate else DEVICE_KEY
    theirs, ours = dialled(certificate, key), server()
    _, server_saw = shake(theirs, ours)
    assert not completed(server_saw)
    assert ours.proved() is None
    assert words in why(ours)
    assert words in why(theirs), "the peer is told"


def test_t36_a_certificate_without_its_key_proves_nothing():
    theirs, ours = dialled(device(), ec.generate_private_key(ec.SECP256R1())), server()
    _, server_saw = shake(theirs, ours)
    assert not completed(server_saw) and ours.proved() is None


def test_t36_a_chain_another_protocol_and_a_bug_in_the_verifier_are_refused():
    for theirs, ours in (
        (dialled(device(), chain=[CA.certificate]), server()),
        (dialled(device(), alpn="h3"), server()),
        (dialled(device()), server(lambda _certificate: (_ for _ in ()).throw(CertificateRefused(why="x")))),
    ):
        _, server_saw = shake(theirs, ours)
        assert not completed(server_saw) and ours.proved() is None


def test_t34_no_ticket_is_issued_and_none_is_taken():
    tickets = []
    theirs, ours = dialled(device()), server()
    theirs._session_ticket_handler = tickets.append
    shake(theirs, ours)
    assert ours.proved() is not None and tickets == []
    assert ours.tls.new_session_ticket_cb is None and ours.tls.get_session_ticket_cb is None
    assert not ours.tls.session_resumed
    ours.tls._session_resumed = True
    assert ours.proved() is None, "a resumed session would show no certificate"


def test_the_library_itself_lets_anybody_in_so_we_are_still_needed():
    """When this fails, the library verifies clients by itself, and this file's subject can go."""
    theirs, ours = dialled(None), server(kind=QuicConnection)
    _, server_saw = shake(theirs, ours)
    assert completed(server_saw)
    context = tls.Context(is_client=False)
    assert context._request_client_certificate is False
    assert context._verify_mode == 0


def test_a_hook_that_the_library_no_longer_calls_lets_nobody_in(monkeypatch):
    """As if an upgrade had renamed the method that we override: closed, not open."""
    monkeypatch.setattr(
        "edgeward.transports.quic_library._MutualContext._server_handle_certificate",
        tls.Context._server_handle_certificate,
    )
    for certificate in (device(), device(OTHER), None):
        ours = server()
        shake(dialled(certificate), ours)
        assert ours.proved() is None


def test_a_server_without_a_verifier_is_not_one():
    ours = server(None)
    with pytest.raises(RuntimeError, match="without a verifier"):
        shake(dialled(device()), ours)


def test_weak_signatures_are_not_offered():
    theirs, ours = dialled(device()), server()
    shake(theirs, ours)
    for connection in (theirs, ours):
        names = {one.name for one in connection.tls._signature_algorithms}
        assert not {name for name in names if "SHA1" in name or "PKCS1" in name}
    assert not any(isinstance(event, ConnectionTerminated) for event in ours._events)
