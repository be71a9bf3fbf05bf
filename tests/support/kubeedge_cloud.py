"""Certificates and Secrets as a KubeEdge cloud makes them (kubeedge-wire section 3), under a CA whose key the test has."""

import base64
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

EDGE = [(NameOID.ORGANIZATION_NAME, "system:nodes")]
LEGACY = [(NameOID.ORGANIZATION_NAME, "kubeEdge"), (NameOID.COMMON_NAME, "kubeedge.io")]


def edge(node: str) -> list[tuple[x509.ObjectIdentifier, str]]:
    """The subject of an edge since v1.16."""
    return [*EDGE, (NameOID.COMMON_NAME, f"system:node:{node}")]


@dataclass
class Cloud:
    """A CA as cloudcore generates it."""

    key: Any
    certificate: x509.Certificate

    @staticmethod
    def new(key: Any = None, now: datetime | None = None) -> "Cloud":
        key = key or ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "KubeEdge")])
        start = (now or datetime.now(UTC)).replace(microsecond=0)
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), 1024)
            .not_valid_before(start)
            .not_valid_after(start + timedelta(days=36400))
            .add_extension(usage(key_cert_sign=True, key_encipherment=True), True)
            .add_extension(x509.ExtendedKeyUsage(usages), False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .sign(key, hashes.SHA256())
        )
        return Cloud(key, certificate)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def key_der(self) -> bytes:
        """SEC 1 (PKCS#1 for RSA), as it stands in `cakeydata`."""
        return traditional(self.key)

    def issue(
        self,
        subject: list[tuple[x509.ObjectIdentifier, str]],
        key: Any,
        *,
        now: datetime | None = None,
        days: float = 365,
        usages: tuple[x509.ObjectIdentifier, ...] = (ExtendedKeyUsageOID.CLIENT_AUTH,),
        extra: tuple[tuple[x509.ExtensionType, bool], ...] = (),
        serial: int | None = None,
    ) -> bytes:
        """A leaf (DER), as cloudcore signs it for whoever asks."""
        start = (now or datetime.now(UTC)).replace(microsecond=0)
        builder = (
            x509.CertificateBuilder(
                self.certificate.subject,
                x509.Name([x509.NameAttribute(oid, text) for oid, text in subject]),
                key.public_key(),
                serial or x509.random_serial_number() >> 96,
            )
            .not_valid_before(start)
            .not_valid_after(start + timedelta(days=days))
            .add_extension(usage(key_encipherment=True), True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False)
        )
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), False)
        for value, critical in extra:
            builder = builder.add_extension(value, critical)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)

    def server(self, *names: x509.GeneralName) -> tuple[bytes, Any]:
        """cloudcore's own certificate, by default with the empty DNS name that its default configuration makes."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = [(NameOID.ORGANIZATION_NAME, "KubeEdge"), (NameOID.COMMON_NAME, "KubeEdge")]
        san = x509.SubjectAlternativeName([x509.DNSName(""), *names])
        return self.issue(subject, key, usages=(ExtendedKeyUsageOID.SERVER_AUTH,), extra=((san, False),)), key

    def secrets(self, server: tuple[bytes, Any] | None = None, token: str = "") -> list[dict[str, Any]]:
        """The Secrets of its namespace as objects."""
        found = [secret("casecret", cadata=self.der, cakeydata=self.key_der)]
        if server is not None:
            found.append(secret("cloudcoresecret", cloudcoredata=server[0], cloudcorekeydata=traditional(server[1])))
        if token:
            found.append(secret("tokensecret", tokendata=token.encode()))
        return found


def secret(name: str, **fields: bytes) -> dict[str, Any]:
    """One Secret, as the API shows it."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": "kubeedge", "uid": "1", "resourceVersion": "7"},
        "type": "Opaque",
        "data": {key: base64.b64encode(value).decode() for key, value in fields.items()},
    }


def traditional(key: Any) -> bytes:
    der: bytes = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    return der


def usage(*, key_cert_sign: bool = False, key_encipherment: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=key_encipherment, data_encipherment=False,
        key_agreement=False, key_cert_sign=key_cert_sign, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
