"""Certificates with every fault that one may have, and the files of a server and a client in one directory under their usual names."""

import ipaddress
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


@dataclass(frozen=True, kw_only=True)
class Made:
    """A certificate, its key, and the certificate that issued it."""

    certificate: x509.Certificate
    key: Any
    issuer: "Made | None" = field(default=None, repr=False)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @cached_property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @cached_property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def key(kind: str = "ec") -> Any:
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65537, int(kind[3:]))
    return ed25519.Ed25519PrivateKey.generate() if kind == "ed25519" else ec.generate_private_key(ec.SECP256R1())


def name(text: str, organization: str = "") -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)] if organization else []
    return x509.Name([*parts, *([x509.NameAttribute(NameOID.COMMON_NAME, text)] if text else [])])


def san(text: str) -> x509.GeneralName:
    """`dns:…`, `uri:…`, or an address or a name as it stands."""
    if text.startswith("dns:"):
        return x509.DNSName(text[4:])
    if text.startswith("uri:"):
        return x509.UniformResourceIdentifier(text[4:])
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def make(
    common_name: str = "server",
    issuer: Made | None = None,
    *,
    names: Sequence[str] = (),
    ca: bool = False,
    pathlen: int | None = None,
    usages: Sequence[x509.ObjectIdentifier] = (),
    hours: tuple[float, float] = (-24, 24 * 90),
    kind: str = "ec",
    organization: str = "",
    own_key: Any = None,
    signer: Any = None,
    key_ids: bool = True,
    full_key_id: bool = False,
    basic: bool = True,
    key_usage: x509.KeyUsage | None = None,
    extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> Made:
    """A certificate by `issuer`, or self-signed; `hours` from now to its ends; `signer`: another key than the issuer's."""
    mine = own_key or key(kind)
    subject = name(common_name, organization)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(mine.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + hours[0] * HOUR)
        .not_valid_after(NOW + hours[1] * HOUR)
    )
    extensions: list[tuple[x509.ExtensionType, bool]] = []
    if basic:
        extensions.append((x509.BasicConstraints(ca=ca, path_length=pathlen), True))
    if names:
        extensions.append((x509.SubjectAlternativeName([san(one) for one in names]), False))
    if usages:
        extensions.append((x509.ExtendedKeyUsage(list(usages)), False))
    if key_ids:
        extensions.append((x509.SubjectKeyIdentifier.from_public_key(mine.public_key()), False))
        above = issuer.key.public_key() if issuer else mine.public_key()
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(above)
        if full_key_id and issuer:
            identifier = x509.AuthorityKeyIdentifier(
                identifier.key_identifier,
                [x509.DirectoryName(issuer.certificate.issuer)],
                issuer.certificate.serial_number,
            )
        extensions.append((identifier, False))
    if key_usage is not None:
        extensions.append((key_usage, True))
    for value, critical in [*extensions, *extra]:
        builder = builder.add_extension(value, critical)
    signing = signer or (issuer.key if issuer else mine)
    digest = None if isinstance(signing, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return Made(certificate=builder.sign(signing, digest), key=mine, issuer=issuer)


def uses(*bits: str) -> x509.KeyUsage:
    """A keyUsage of these bits."""
    every = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign",
        "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{bit: bit in bits for bit in every})


def root(common_name: str = "Test CA", **more: Any) -> Made:
    return make(common_name, ca=True, hours=(-24 * 30, 24 * 3650), **more)


def by_openssl(common_name: str, issuer: Made, home: Path, *, digest: str, names: str, kind: str = "rsa:2048") -> Made:
    """A certificate with a digest that the library no longer signs with; OpenSSL still does."""
    (home / "old.key").write_bytes(issuer.key_pem)
    (home / "old.crt").write_bytes(issuer.pem)
    (home / "ext").write_text(f"subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n")
    run = lambda *a: subprocess.run(["openssl", *a], check=True, capture_output=True, cwd=home)  # noqa: E731
    run(
        "req",
        "-new",
        "-newkey",
        kind,
        "-nodes",
        "-keyout",
        "leaf.key",
        "-subj",
        f"/CN={common_name}",
        "-out",
        "leaf.csr",
    )
    run(
        "x509", "-req", "-in", "leaf.csr", "-CA", "old.crt", "-CAkey", "old.key", "-CAcreateserial", f"-{digest}", "-days", "90",
        "-extfile", "ext", "-out", "leaf.crt",
    )  # fmt: skip
    loaded = serialization.load_pem_private_key((home / "leaf.key").read_bytes(), None)
    return Made(certificate=x509.load_pem_x509_certificate((home / "leaf.crt").read_bytes()), key=loaded, issuer=issuer)


@dataclass
class Home:
    """A directory with the files of a server (server.crt with its chain, server.key), of a client (client.crt, client.key) and of a CA."""

    path: Path

    def server(self, leaf: Made, *above: Made) -> "Home":
        """The server's certificate, what it sends above it, and its key; its issuer's pair lies beside it, for who must sign again."""
        (self.path / "server.crt").write_bytes(b"".join(one.pem for one in (leaf, *above)))
        (self.path / "server.key").write_bytes(leaf.key_pem)
        return self

    def trusts(self, *anchors: Made) -> "Home":
        """What clients trust; the first one's key is there, to sign with."""
        (self.path / "ca.crt").write_bytes(b"".join(one.pem for one in anchors))
        (self.path / "ca.key").write_bytes(anchors[0].key_pem)
        return self

    def client(self, leaf: Made, *above: Made, key: Made | None = None) -> "Home":
        """The client's pair."""
        (self.path / "client.crt").write_bytes(b"".join(one.pem for one in (leaf, *above)))
        (self.path / "client.key").write_bytes((key or leaf).key_pem)
        return self

    def file(self, name: str) -> str:
        return str(self.path / name)
