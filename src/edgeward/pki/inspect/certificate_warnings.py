"""What will bite whoever uses a certificate: each rule a small function, each finding with a stable id.

These are the mistakes that people make with private CAs and devices, in the order in which they are met at three in
the morning. A finding says what will happen, not which paragraph is broken.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edgeward.errors import printable
from edgeward.pki.inspect.publickey import PublicKey
from edgeward.pki.inspect.report import Warning
from edgeward.pki.severity import Severity

SOON = timedelta(days=30)
"""Or a fifth of the whole life for a certificate that lives less than 150 days."""

_LABEL = r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)\Z"
_HOST = r"(?=.{1,253}\Z)[A-Za-z0-9*-]+(\.[A-Za-z0-9-]+)+\Z|localhost\Z"

_BROKEN_SIGNATURES = {
    "1.2.840.113549.1.1.2": "MD2",
    "1.2.840.113549.1.1.4": "MD5",
    "1.2.840.113549.1.1.5": "SHA-1",
    "1.2.840.10045.4.1": "SHA-1",
    "1.2.840.10040.4.3": "SHA-1",
}


class _View(NamedTuple):
    """A certificate with the extensions that the rules ask for taken out."""

    certificate: x509.Certificate
    key: PublicKey | None
    now: datetime
    self_signed: bool
    basic: x509.BasicConstraints | None
    usage: x509.KeyUsage | None
    purposes: frozenset[x509.ObjectIdentifier] | None
    names: tuple[x509.GeneralName, ...] | None
    names_critical: bool

    @property
    def is_ca(self) -> bool:
        return self.basic is not None and self.basic.ca

    @property
    def serves(self) -> bool:
        """Whether it may prove a server."""
        return not self.is_ca and (
            self.purposes is None
            or ExtendedKeyUsageOID.SERVER_AUTH in self.purposes
            or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in self.purposes
        )


def _value(certificate: x509.Certificate, kind: type[x509.ExtensionType]) -> x509.Extension[x509.ExtensionType] | None:
    try:
        return certificate.extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None


def _view(certificate: x509.Certificate, key: PublicKey | None, now: datetime, self_signed: bool) -> _View:
    basic = _value(certificate, x509.BasicConstraints)
    usage = _value(certificate, x509.KeyUsage)
    purposes = _value(certificate, x509.ExtendedKeyUsage)
    names = _value(certificate, x509.SubjectAlternativeName)
    return _View(
        certificate,
        key,
        now,
        self_signed,
        basic.value if basic and isinstance(basic.value, x509.BasicConstraints) else None,
        usage.value if usage and isinstance(usage.value, x509.KeyUsage) else None,
        frozenset(purposes.value) if purposes and isinstance(purposes.value, x509.ExtendedKeyUsage) else None,
        tuple(names.value) if names and isinstance(names.value, x509.SubjectAlternativeName) else None,
        bool(names and names.critical),
    )


def _time(view: _View) -> Iterator[Warning]:
    start, end = view.certificate.not_valid_before_utc, view.certificate.not_valid_after_utc
    if end < start:
        yield Warning(id="never-valid", severity=Severity.ERROR, text="it ends before it starts: it is never valid")
    elif view.now > end:
        yield Warning(
            id="expired", severity=Severity.ERROR, text=f"it expired on {end:%Y-%m-%d}: handshakes with it fail"
        )
    elif view.now < start:
        text = f"it is not valid before {start:%Y-%m-%d %H:%M} UTC: check the clock of whoever made it"
        yield Warning(id="not-yet-valid", severity=Severity.ERROR, text=text)
    elif end - view.now < min(SOON, (end - start) / 5):
        yield Warning(id="expires-soon", severity=Severity.WARNING, text=f"it expires on {end:%Y-%m-%d %H:%M} UTC")
    if view.serves and view.purposes is not None and end - start > timedelta(days=825):
        days = (end - start).days
        text = f"it lives {days} days: Apple's programs refuse a server certificate of over 825 days, a private one too"
        yield Warning(id="lives-long", severity=Severity.NOTE, text=text)


def _identity(view: _View) -> Iterator[Warning]:
    if view.is_ca:
        return
    commons = [str(a.value) for a in view.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if len(commons) > 1:
        yield Warning(
            id="several-cns",
            severity=Severity.WARNING,
            text="it has several common names: programs read different ones",
        )
    if not view.names:
        hosts = [common for common in commons if _looks_like_host(common)]
        if hosts and view.serves:
            text = f"its only name is the common name {printable(hosts[0])!r}, and no current TLS client looks there"
            remedy = f"sign it again with the name in subjectAltName: dns:{printable(hosts[0])}"
            yield Warning(id="cn-only", severity=Severity.ERROR, text=text, remedy=remedy)
        elif view.serves:
            text = "it has no subjectAltName: a TLS client matches a server's name there and nowhere else"
            yield Warning(id="no-san", severity=Severity.WARNING, text=text)
    else:
        known = {str(name.value).lower() for name in view.names}
        for common in commons:
            if view.serves and common.lower() not in known and _looks_like_host(common):
                text = (
                    f"the common name {printable(common)!r} is not among the names in subjectAltName: it does not count"
                )
                yield Warning(id="cn-not-in-san", severity=Severity.WARNING, text=text)
    if not commons and not list(view.certificate.subject) and view.names and not view.names_critical:
        text = "the subject is empty, and then subjectAltName must be critical"
        yield Warning(id="san-not-critical", severity=Severity.WARNING, text=text)
    if not list(view.certificate.subject) and not view.names:
        yield Warning(id="nameless", severity=Severity.ERROR, text="it names nobody: no subject and no subjectAltName")


def _looks_like_host(text: str) -> bool:
    return _is_address(text) or re.match(_HOST, text) is not None


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _dns_names(view: _View) -> Iterator[Warning]:
    for name in view.names or ():
        if isinstance(name, x509.IPAddress) and "/" in str(name.value):
            text = f"the address {name.value} is a network, not an address: nothing matches it"
            yield Warning(id="network-in-san", severity=Severity.ERROR, text=text)
        if isinstance(name, x509.DNSName):
            yield from _dns_name(name.value)


def _dns_name(value: str) -> Iterator[Warning]:
    said = repr(printable(value, 80))
    labels = value.removesuffix(".").split(".")
    if not value.strip():
        yield Warning(
            id="empty-dns-name",
            severity=Severity.ERROR,
            text="a DNS name is empty: some programs refuse the certificate",
        )
    elif _is_address(value):
        text = f"the address {said} stands in a DNS name: clients look for it in an IP name and do not find it"
        yield Warning(
            id="ip-in-dns-name",
            severity=Severity.ERROR,
            text=text,
            remedy=f"sign it again with ip:{printable(value, 80)}",
        )
    elif "*" in value and (value.count("*") > 1 or labels[0] != "*" or len(labels) < 3):
        text = (
            f"the wildcard {said} matches nothing: a wildcard is a whole first label with at least two more behind it"
        )
        yield Warning(id="odd-wildcard", severity=Severity.ERROR, text=text)
    elif value.endswith("."):
        yield Warning(
            id="trailing-dot",
            severity=Severity.ERROR,
            text=f"the DNS name {said} ends with a dot: clients do not match it",
        )
    elif not all(label == "*" or re.match(_LABEL, label) for label in labels) or len(value) > 253:
        text = f"{said} is not a DNS name" + (
            ": international names are written as xn--…" if not value.isascii() else ""
        )
        yield Warning(id="bad-dns-name", severity=Severity.ERROR, text=text)


def _authority(view: _View) -> Iterator[Warning]:
    usage, basic = view.usage, view.basic
    if view.is_ca and usage is not None and not usage.key_cert_sign:
        text = "it says it is a CA, and its keyUsage lacks keyCertSign: whatever it signs is refused"
        yield Warning(id="ca-cannot-sign", severity=Severity.ERROR, text=text)
    if view.is_ca and usage is None:
        text = (
            "a CA without keyUsage (as `openssl req -x509` makes it): strict programs refuse it, Python 3.13 among them"
        )
        yield Warning(id="ca-without-key-usage", severity=Severity.WARNING, text=text)
    if view.is_ca and usage is not None and usage.key_cert_sign and not usage.crl_sign:
        text = "the CA's keyUsage lacks cRLSign: it cannot revoke what it issues by a list of its own"
        yield Warning(id="ca-cannot-revoke", severity=Severity.NOTE, text=text)
    if not view.is_ca and usage is not None and usage.key_cert_sign:
        text = "its keyUsage has keyCertSign, and it is not a CA: whatever it signs is refused"
        yield Warning(id="signs-but-no-ca", severity=Severity.ERROR, text=text)
    if basic is not None and not basic.ca and basic.path_length is not None:
        yield Warning(
            id="odd-path-length", severity=Severity.WARNING, text="a path length on a certificate that is no CA"
        )
    if view.is_ca and basic is not None and _criticality(view, x509.BasicConstraints) is False:
        yield Warning(
            id="ca-not-critical", severity=Severity.WARNING, text="the CA's basicConstraints should be critical"
        )
    if view.self_signed and not view.is_ca:
        text = "self-signed: nobody vouches for it, and whoever is to accept it must be given this very certificate"
        yield Warning(id="self-signed-leaf", severity=Severity.WARNING, text=text)


def _criticality(view: _View, kind: type[x509.ExtensionType]) -> bool | None:
    extension = _value(view.certificate, kind)
    return extension.critical if extension else None


def _usage(view: _View) -> Iterator[Warning]:
    usage, family = view.usage, view.key.family if view.key else ""
    if view.is_ca or usage is None:
        return
    if usage.key_encipherment and family in {"EC", "EdDSA", "ML-DSA"}:
        text = f"keyUsage has keyEncipherment, which an {family} key cannot do: strict programs refuse it"
        yield Warning(id="usage-does-not-fit-key", severity=Severity.WARNING, text=text)
    if usage.key_agreement and family in {"RSA", "EdDSA", "ML-DSA"}:
        text = f"keyUsage has keyAgreement, which an {family} key cannot do"
        yield Warning(id="usage-does-not-fit-key", severity=Severity.WARNING, text=text)
    purposes = view.purposes or frozenset()
    tls = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH} & purposes
    if tls and not usage.digital_signature:
        text = "it is for TLS, and its keyUsage lacks digitalSignature: TLS 1.3 refuses it"
        severity = Severity.WARNING if usage.key_encipherment and family == "RSA" else Severity.ERROR
        yield Warning(id="usage-does-not-fit-purpose", severity=severity, text=text)


def _form(view: _View) -> Iterator[Warning]:
    certificate = view.certificate
    dotted = certificate.signature_algorithm_oid.dotted_string
    if dotted in _BROKEN_SIGNATURES and not view.self_signed:
        text = f"it is signed with {_BROKEN_SIGNATURES[dotted]}, which can be forged: TLS libraries refuse it"
        yield Warning(id="weak-signature", severity=Severity.ERROR, text=text)
    if certificate.version is x509.Version.v1:
        text = "version 1 has no extensions, so no names for a server and no CA (`openssl x509 -req` without -extfile)"
        yield Warning(id="version-1", severity=Severity.WARNING, text=text)
    serial = certificate.serial_number
    if serial <= 0:
        yield Warning(
            id="odd-serial",
            severity=Severity.WARNING,
            text="its serial number is not positive: strict programs refuse it",
        )
    if serial.bit_length() > 159:
        yield Warning(id="odd-serial", severity=Severity.WARNING, text="its serial number is longer than 20 octets")
    extensions = {extension.oid for extension in certificate.extensions}
    unknown = [
        extension.oid.dotted_string
        for extension in certificate.extensions
        if extension.critical and isinstance(extension.value, x509.UnrecognizedExtension)
    ]
    if unknown:
        text = f"a critical extension that programs do not know ({', '.join(unknown[:3])}): they must refuse it"
        yield Warning(id="unknown-critical", severity=Severity.WARNING, text=text)
    if extensions and not view.self_signed and x509.OID_AUTHORITY_KEY_IDENTIFIER not in extensions:
        text = "no authorityKeyIdentifier: programs that know several keys of its issuer have to try them all"
        yield Warning(id="no-aki", severity=Severity.NOTE, text=text)


_RULES: tuple[Callable[[_View], Iterator[Warning]], ...] = (
    _time, _identity, _dns_names, _authority, _usage, _form,
)  # fmt: skip


def warnings(
    certificate: x509.Certificate, key: PublicKey | None, now: datetime, *, self_signed: bool
) -> list[Warning]:
    """Every finding on `certificate`, at most 100 of them. `key` is its public key as shown, None when it cannot be
    read.
    """
    view = _view(certificate, key, now, self_signed)
    found = [warning for rule in _RULES for warning in rule(view)]
    return found[:100]
