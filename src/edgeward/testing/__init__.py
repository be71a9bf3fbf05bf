"""A throw-away certificate authority for tests, in one line: `ca = edgeward.testing.authority()`.

    server, client = ca.server("localhost", "127.0.0.1"), ca.client("edge-1")
    server.server_context()      # mutual TLS, as in production
    client.client_context()
    server.certificate_path      # for programs that want files; they are gone when the CA is

Nothing here is meant for anything but tests: keys lie in memory and in temporary files in the clear, and no certificate has a record.
The certificates themselves come from the issuing road's own functions, so they look like those of a real authority. For what must fail:
`expired`, `not_yet_valid`, a server for another name, and `other()`, a CA of the same name with another key.

pytest: `from edgeward.testing.fixtures import authority` gives a fixture of one CA for the whole session.
"""

import secrets
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edgeward import tls
from edgeward.errors import UsageError
from edgeward.keys import generate
from edgeward.pki import csr, keys, names, parse
from edgeward.pki.conform import conform
from edgeward.pki.formats.pem import write as pem
from edgeward.pki.issue import SERIAL_OCTETS, Grant, Issuing, decide, serial_number, sign
from edgeward.pki.profile import Profile

_DOMAIN = "test.invalid"
_KEYS = keys.ALGORITHMS
_LIFE = timedelta(days=1)
_CA_LIFE = timedelta(days=3650)
_CA_AGE = timedelta(days=365)
"""A CA is a year old when it is made, so that there is room for certificates that have expired."""

NOBODY = "nobody.invalid"
"""The name that `wrong_name` certificates are for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Issuer:
    der: bytes
    key: CertificateIssuerPrivateKeyTypes
    facts: Issuing


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A certificate with its key, and the CA it is to be used with."""

    name: str
    certificate: bytes
    """PEM: the certificate itself, then its intermediates, without the root."""
    key: bytes = field(repr=False)
    """PEM, PKCS#8 in the clear."""
    ca: bytes
    """PEM of the root that vouches for it."""
    _folder: "_Folder" = field(repr=False)

    @cached_property
    def x509(self) -> x509.Certificate:
        """The certificate as the library's object."""
        return x509.load_pem_x509_certificate(self.certificate)

    @cached_property
    def certificate_path(self) -> str:
        """A file with `certificate`."""
        return self._folder.file(f"{self.name}.crt", self.certificate)

    @cached_property
    def key_path(self) -> str:
        """A file with `key`, mode 0600."""
        return self._folder.file(f"{self.name}.key", self.key)

    @cached_property
    def ca_path(self) -> str:
        """A file with `ca`."""
        return self._folder.file("ca.crt", self.ca)

    def server_context(self, *, mutual: bool = True, **options: Any) -> tls.Context:
        """The context of a server with this identity, which lets clients of the same CA in. `mutual` False: one-way TLS. `options` go
        to `edgeward.tls.server_context`."""
        options.setdefault("client_ca", self.ca if mutual else None)
        return tls.server_context(certificate=self.certificate, key=self.key, **options)

    def client_context(self, **options: Any) -> tls.Context:
        """The context of a client with this identity, which believes servers of the same CA. `options` as above."""
        options.setdefault("ca", self.ca)
        return tls.client_context(certificate=self.certificate, key=self.key, **options)


class _Folder:
    """Temporary files that live as long as somebody holds this."""

    def __init__(self) -> None:
        self._directory: tempfile.TemporaryDirectory[str] | None = None

    def file(self, name: str, octets: bytes) -> str:
        if self._directory is None:
            self._directory = tempfile.TemporaryDirectory(prefix="edgeward-testing-")
        place = Path(tempfile.mkdtemp(dir=self._directory.name)) / name.replace("/", "_").replace("*", "_")
        place.touch(mode=0o600)
        place.write_bytes(octets)
        return str(place)


class Authority:
    """A CA in memory. `key` is the kind of key it and its certificates have, as `edgeward key new --type` spells it."""

    def __init__(self, name: str, key: str, issuers: tuple[_Issuer, ...], folder: _Folder) -> None:
        self.name = name
        self._kind = key
        self._issuers = issuers
        self._folder = folder
        self._revoked: dict[int, datetime] = {}

    @property
    def certificate(self) -> bytes:
        """The root in PEM."""
        return pem("CERTIFICATE", self._issuers[-1].der)

    @cached_property
    def path(self) -> str:
        """A file with `certificate`."""
        return self._folder.file("ca.crt", self.certificate)

    def server(self, *served: str) -> Identity:
        """A server's pair for DNS names and addresses (`localhost` and 127.0.0.1 unless given)."""
        return self._leaf("serverAuth", served or ("localhost", "127.0.0.1"))

    def client(self, name: str = "client") -> Identity:
        """A client's pair: the name is its common name."""
        return self._leaf("clientAuth", (name,))

    def wrong_name(self) -> Identity:
        """A server's pair for a name that nobody dials."""
        return self.server(NOBODY)

    def expired(self, *named: str, client: bool = False) -> Identity:
        """A pair whose certificate ended yesterday."""
        return self._leaf(*_kind(client, named), start=-timedelta(days=2))

    def not_yet_valid(self, *named: str, client: bool = False) -> Identity:
        """A pair whose certificate begins tomorrow."""
        return self._leaf(*_kind(client, named), start=timedelta(days=1, minutes=10))

    def other(self) -> "Authority":
        """Another CA of the same name: what a peer must not confuse with this one."""
        return authority(self.name, key=self._kind)

    def intermediate(self, name: str = "intermediate") -> "Authority":
        """A CA below this one. Its pairs come with its certificate in the chain, and are vouched for by the root."""
        below = _certify(_ca(0), name, self._kind, self._issuers[0], _now() - _CA_AGE / 2)
        return Authority(name, self._kind, (below, *self._issuers), self._folder)

    def revoke(self, identity: Identity) -> None:
        """Put a certificate of this CA on its `crl`."""
        if not any(identity.x509.issuer.public_bytes() == issuer.facts.subject for issuer in self._issuers[:1]):
            raise UsageError(problem=f"{identity.name} is of another CA")
        self._revoked[identity.x509.serial_number] = _now()

    @property
    def crl(self) -> bytes:
        """The list of what was revoked, in PEM, made anew each time."""
        issuer, now = self._issuers[0], _now()
        name = parse.certificate(issuer.der).subject
        builder = x509.CertificateRevocationListBuilder().issuer_name(name)
        builder = builder.last_update(now - timedelta(minutes=5)).next_update(now + _LIFE)
        for serial, at in self._revoked.items():
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at).build()
            builder = builder.add_revoked_certificate(entry)
        identifier = x509.AuthorityKeyIdentifier(issuer.facts.key_identifier, None, None)
        builder = builder.add_extension(identifier, False).add_extension(x509.CRLNumber(len(self._revoked)), False)
        return builder.sign(issuer.key, keys.signature_hash(issuer.key.public_key())).public_bytes(Encoding.PEM)

    def _leaf(self, purpose: str, named: tuple[str, ...], start: timedelta = timedelta(0)) -> Identity:
        serves = purpose == "serverAuth"
        profile = Profile(
            name="server" if serves else "client",
            common_name="{identity}",
            purposes=(purpose,),
            lifetime=_LIFE,
            key_algorithms=_KEYS,
        )
        general = tuple(names.server_name(name) for name in named) if serves else ()
        made = _certify(profile, named[0], self._kind, self._issuers[0], _now() + start, general)
        between = [issuer.der for issuer in self._issuers[:-1]]
        return Identity(
            name=named[0],
            certificate=b"".join(pem("CERTIFICATE", der) for der in (made.der, *between)),
            key=made.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            ca=self.certificate,
            _folder=self._folder,
        )


def authority(name: str = "Test CA", *, key: str = generate.DEFAULT) -> Authority:
    """A new CA called `name`, its keys of a kind out of `edgeward.keys.generate.KINDS` (P-256 takes a tenth of a millisecond)."""
    return Authority(name, key, (_certify(_ca(None), name, key, None, _now() - _CA_AGE),), _Folder())


_now: Callable[[], datetime] = lambda: datetime.now(UTC).replace(microsecond=0)  # noqa: E731 - one line says it


def _kind(client: bool, named: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    if client:
        return "clientAuth", named or ("client",)
    return "serverAuth", named or ("localhost", "127.0.0.1")


def _ca(path_length: int | None) -> Profile:
    return Profile(
        name="ca", common_name="{identity}", lifetime=_CA_LIFE, ca=True, path_length=path_length, key_algorithms=_KEYS
    )


def _certify(
    profile: Profile,
    identity: str,
    kind: str,
    issuer: _Issuer | None,
    at: datetime,
    general: tuple[x509.GeneralName, ...] = (),
) -> _Issuer:
    """A new key and its certificate, by the steps of the issuing road."""
    key = keys.issuer_key(generate.new(kind))
    plan = decide(
        profile,
        csr.asked_by_key(key.public_key()),
        Grant(identity=identity, names=general),
        issuer=None if issuer is None else issuer.facts,
        trust_domain=_DOMAIN,
        now=at,
        serial=serial_number(secrets.token_bytes(SERIAL_OCTETS)),
    )
    der = sign(plan, key if issuer is None else issuer.key)
    conform(der, plan, (key if issuer is None else issuer.key).public_key())
    return _Issuer(der=der, key=key, facts=Issuing.of(x509.load_der_x509_certificate(der), plan.spki))
