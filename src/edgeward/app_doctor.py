"""The composition root of `edgeward doctor HOST:PORT`: builds what touches the network and hands it to the service that judges."""

import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import NameOID

from edgeward.errors import Unreadable
from edgeward.model.handshake import Address, Connected, Handshake, Offer, Resolution
from edgeward.services.doctor import live
from edgeward.transports import doctor

NOBODY = "edgeward-doctor-asks-and-wants-nothing"
"""The common name of the request that the doctor makes: no node's, so that no authority of ours may grant it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """The doctor's way to the network: `services.doctor.survey.Look` over sockets. `seconds` for each connection and each answer."""

    seconds: float
    pair: doctor.Pair | None = None

    def resolve(self, host: str, port: int) -> Resolution:
        return doctor.resolve(host, port, max(self.seconds, 10.0))

    def connect(self, addresses: Sequence[Address]) -> Sequence[Connected]:
        """All at once, so that a dead address delays the others by nothing."""
        with ThreadPoolExecutor(max_workers=max(1, len(addresses))) as pool:
            return tuple(pool.map(lambda address: doctor.connect(address, self.seconds), addresses))

    def handshake(
        self, address: Address, offer: Offer, question: bytes = b"", only_to: bytes | None = None
    ) -> Handshake:
        return doctor.handshake(address, offer, question, seconds=self.seconds, pair=self.pair, only_to=only_to)

    def plain(self, address: Address, question: bytes) -> bytes:
        return doctor.plain(address, question, self.seconds)


def network(seconds: float, certificates: Sequence[bytes] = (), key: PrivateKeyTypes | None = None) -> Network:
    """The network, for a client with `certificates` (DER, its own first) and `key`, or without."""
    if key is None or not certificates:
        return Network(seconds=seconds)
    pem = "".join(ssl.DER_cert_to_PEM_cert(der) for der in certificates).encode()
    return Network(seconds=seconds, pair=doctor.Pair(certificate=pem, key=key))


def refused_request() -> bytes:
    """A certificate request that every authority of ours refuses: sound, and for a name that is nobody's."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NOBODY)])
    request = x509.CertificateSigningRequestBuilder(subject_name=subject).sign(
        ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()
    )
    return request.public_bytes(serialization.Encoding.DER)


def system_anchors() -> tuple[bytes, ...]:
    """The CAs that this machine trusts, in DER."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_default_certs()
    except ssl.SSLError as error:
        raise Unreadable(what="trust store of this machine", why=str(error)) from error
    return tuple(context.get_ca_certs(binary_form=True))


def now() -> datetime:
    """The clock: aware UTC."""
    return datetime.now(UTC)


def examine(question: live.Question, over: Network) -> live.Examined:
    """Look at a server and judge it."""
    return live.examine(question, over, now, refused_request)
