"""A certificate in words: its fields, every extension, and what will bite whoever uses it."""

import hashlib
from datetime import datetime, timedelta

from cryptography import x509

from edgeward.errors import Unreadable, UnsupportedKey
from edgeward.pki import oids, parse
from edgeward.pki.formats.item import Item, Kind
from edgeward.pki.inspect import certificate_warnings, extensions, publickey
from edgeward.pki.inspect.names import dn, hexed, iso, moment, shown
from edgeward.pki.inspect.report import Json, Report, Warning
from edgeward.pki.severity import Severity


def report(item: Item, now: datetime) -> Report:
    """The report on a certificate. `now` is aware UTC. Raises `Unreadable` for one that does not parse. RFC 5280
    section 4.
    """
    certificate = parse.certificate(item.data)
    return parse.guarded("certificate", lambda: _report(item, certificate, now))


def key_of(certificate: x509.Certificate | x509.CertificateSigningRequest) -> publickey.PublicKey | None:
    """The public key as it is shown, or None for one that the library cannot read."""
    try:
        return publickey.describe(parse.public_key(certificate))
    except UnsupportedKey:
        return None


def lifetime(certificate: x509.Certificate, now: datetime) -> str:
    """When it is valid, relative to now, in words."""
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < start:
        return f"not valid yet: starts in {span(start - now)}"
    if now > end:
        return f"expired {span(now - end)} ago"
    return f"valid for {span(end - now)} more"


def span(time: timedelta) -> str:
    """A span of time in the largest sensible unit."""
    seconds = int(time.total_seconds())
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= size * 2 or (size == 1):
            return f"{seconds // size} {unit}{'' if seconds // size == 1 else 's'}"
    return "0 seconds"


def is_self_signed(certificate: x509.Certificate) -> bool:
    """Whether the certificate's own key made its signature. Costs a signature check where the names agree."""
    if certificate.subject != certificate.issuer:
        return False
    return issued_by(certificate, certificate)


def issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether `issuer`'s name and key fit `certificate`. Keys over 8,192 bits are not tried: they take too long."""
    try:
        key = parse.public_key(issuer)
    except UnsupportedKey:
        return False
    if publickey.describe(key).bits > 8192:
        return False
    try:
        parse.guarded("certificate", lambda: certificate.verify_directly_issued_by(issuer))
    except Unreadable:
        return False
    return True


def _report(item: Item, certificate: x509.Certificate, now: datetime) -> Report:
    key = key_of(certificate)
    self_signed = is_self_signed(certificate)
    spoken = extensions.all_spoken(certificate.extensions)
    digest = hashlib.sha256(item.data).digest()
    serial = certificate.serial_number
    key_words = (
        key.words
        if key
        else f"of an algorithm not known here ({oids.name(certificate.public_key_algorithm_oid.dotted_string)})"
    )
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    serial_hex = f"{abs(serial):X}"
    rows = (
        ("subject", dn(certificate.subject)),
        ("issuer", "itself" if self_signed else dn(certificate.issuer)),
        (
            "serial",
            ("-" if serial < 0 else "") + hexed(bytes.fromhex(serial_hex.zfill(len(serial_hex) + len(serial_hex) % 2))),
        ),
        ("valid", f"{moment(start)} to {moment(end)} ({lifetime(certificate, now)})"),
        ("public key", key_words),
        ("signature", oids.name(certificate.signature_algorithm_oid.dotted_string)),
        ("SHA-256", hexed(digest)),
        *((("version", "1: no extensions"),) if certificate.version is x509.Version.v1 else ()),
    )
    facts: dict[str, Json] = {
        "subject": dn(certificate.subject),
        "subject_attributes": attributes(certificate.subject),
        "issuer": dn(certificate.issuer),
        "issuer_attributes": attributes(certificate.issuer),
        "self_signed": self_signed,
        "version": certificate.version.value + 1,
        "serial": ("-" if serial < 0 else "") + serial_hex,
        "not_before": iso(start),
        "not_after": iso(end),
        "seconds_left": int((end - now).total_seconds()),
        "public_key": key.as_json() if key else None,
        "signature_algorithm": oids.name(certificate.signature_algorithm_oid.dotted_string),
        "sha256": digest.hex(),
        "sha1": hashlib.sha1(item.data, usedforsecurity=False).hexdigest(),
    }
    return Report(
        kind=Kind.CERTIFICATE.value,
        title=title(certificate, self_signed=self_signed),
        origin=item.origin, encoding=item.encoding, label=item.label, alias=shown(item.alias),
        rows=rows, facts=facts, extensions=spoken, notes=item.notes,
        warnings=(
            *(key.warnings if key else (_unknown_key(key_words),)),
            *certificate_warnings.warnings(certificate, key, now, self_signed=self_signed),
        ),
    )  # fmt: skip


def _unknown_key(words: str) -> Warning:
    return Warning(id="unknown-key", severity=Severity.WARNING, text=f"the public key is {words}")


def title(certificate: x509.Certificate, *, self_signed: bool) -> str:
    """What kind of certificate it is."""
    try:
        ca = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        ca = False
    if ca:
        return "root CA certificate" if self_signed else "intermediate CA certificate"
    return "self-signed certificate" if self_signed else "certificate"


def attributes(name: x509.Name) -> list[Json]:
    """A distinguished name's attributes in order, for programs."""
    return [
        {
            "oid": attribute.oid.dotted_string,
            "name": oids.NAMES.get(attribute.oid.dotted_string, ""),
            "value": shown(attribute.value if isinstance(attribute.value, str) else attribute.value.hex()),
        }
        for attribute in name
    ]
