"""Rules for certificates of a private PKI, of devices and of mutual TLS: a table, each line with an id, a severity, the paragraph that
says so, and what to do.

Two kinds of rules. Those that `edgeward inspect` warns of have their code there (`pki.inspect.certificate_warnings`) and here their
paragraph. The others are here, because they look at a certificate as a part of a fleet: who issued it, who else has its key, what a
stolen key of it could do. Whether a certificate keeps RFC 5280 to the letter is another program's business (the `lint` command asks it).

Ids are stable: `--ignore` and other people's programs name them.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from edgeward.errors import UnsupportedKey, printable
from edgeward.pki import keys, names, parse
from edgeward.pki.inspect import certificate_warnings, chain
from edgeward.pki.inspect.certificate import key_of
from edgeward.pki.severity import Severity, worst_first

ERROR, WARNING, NOTE = Severity

FEW_BITS = 48
"""A random serial of 64 bits is shorter than this once in 65,000 times, a counter always."""

LONG_LIFE = timedelta(days=3 * 366)
"""The longest that NIST gives a private signature key; the key of a device that cannot be revoked lives as long as its certificate."""

_SPIFFE = re.compile(r"spiffe://[a-z0-9._-]{1,255}(/[A-Za-z0-9._-]+)*")
_DOTS = re.compile(r"/\.{1,2}(/|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A certificate among those it was given with."""

    certificate: x509.Certificate
    issuer: x509.Certificate | None
    """Its issuer, if that is among them, proven by the signature; for a root the root itself."""
    twins: tuple[x509.Certificate, ...]
    """Other certificates with the same public key."""
    namesakes: tuple[x509.Certificate, ...]
    """Other certificates with the same issuer name and serial number."""

    def get(self, kind: type[x509.ExtensionType]) -> x509.ExtensionType | None:
        """The value of an extension, if there is one."""
        return next((e.value for e in self.certificate.extensions if isinstance(e.value, kind)), None)

    @property
    def is_ca(self) -> bool:
        """Whether it says that it is a CA."""
        basic = self.get(x509.BasicConstraints)
        return isinstance(basic, x509.BasicConstraints) and basic.ca

    @property
    def is_root(self) -> bool:
        """Whether its own key signed it."""
        return self.issuer is self.certificate

    @property
    def purposes(self) -> frozenset[x509.ObjectIdentifier] | None:
        """Its extended key usages; None without the extension."""
        found = self.get(x509.ExtendedKeyUsage)
        return frozenset(found) if isinstance(found, x509.ExtendedKeyUsage) else None

    @property
    def names(self) -> tuple[x509.GeneralName, ...]:
        """Its alternative names."""
        found = self.get(x509.SubjectAlternativeName)
        return tuple(found) if isinstance(found, x509.SubjectAlternativeName) else ()

    @property
    def uris(self) -> tuple[str, ...]:
        """Its SPIFFE identities."""
        uris = [n.value for n in self.names if isinstance(n, x509.UniformResourceIdentifier)]
        return tuple(uri for uri in uris if uri.lower().startswith("spiffe:"))

    @property
    def is_device(self) -> bool:
        """Whether it is the identity of a device or workload: a KubeEdge node's, or a SPIFFE identity."""
        organized = names.NODES_ORGANIZATION in names.organizations(self.certificate.subject)
        return not self.is_ca and (organized or bool(self.uris))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One line of the table. `check` yields a sentence for each time that the rule is broken; None where the code is elsewhere."""

    id: str
    severity: Severity
    paragraph: str
    remedy: str
    check: Callable[[View], Iterator[str]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A rule as it is listed. `severity` is None where it depends on the case."""

    id: str
    severity: Severity | None
    paragraph: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A broken rule: where, and in words."""

    id: str
    severity: Severity
    text: str
    paragraph: str
    remedy: str
    source: str = "edgeward"
    field: str = ""
    """The field, where the rule names one."""


# --------------------------------------------------------------------------------------------------------------- the checks


def _no_purpose(view: View) -> Iterator[str]:
    if not view.is_ca and view.purposes is None:
        yield "it has no extendedKeyUsage: a server's certificate passes for a client's, and a client's for a server's"


def _any_purpose(view: View) -> Iterator[str]:
    if ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in (view.purposes or ()) and not view.is_ca:
        yield "its extendedKeyUsage says any: it passes for a server, a client and a signer of code"


_BOTH = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}


def _both_purposes(view: View) -> Iterator[str]:
    if not view.is_ca and not view.is_device and (view.purposes or frozenset()) >= _BOTH:
        yield "it is for servers and for clients: whoever steals the key of one side can play the other"


def _device_serves(view: View) -> Iterator[str]:
    if view.is_device and ExtendedKeyUsageOID.SERVER_AUTH in (view.purposes or ()):
        yield "a device's certificate has serverAuth: a stolen device can play the platform for others"


def _device_wildcard(view: View) -> Iterator[str]:
    if ExtendedKeyUsageOID.CLIENT_AUTH not in (view.purposes or ()):
        return
    for name in (*names.common_names(view.certificate.subject), *(n.value for n in view.names if _is_dns(n))):
        if "*" in str(name):
            yield f"the client name {printable(name)!r} has a wildcard: it names no one client"


def _is_dns(name: x509.GeneralName) -> bool:
    return isinstance(name, x509.DNSName)


def _node_subject(view: View) -> Iterator[str]:
    subject = view.certificate.subject
    if not view.is_ca and names.NODES_ORGANIZATION in names.organizations(subject) and names.node_of(subject) is None:
        shown = printable(", ".join(names.common_names(subject)) or "(none)")
        yield f"the organization is {names.NODES_ORGANIZATION}, and the common name {shown} names no node"


def _node_disagrees(view: View) -> Iterator[str]:
    node = names.node_of(view.certificate.subject)
    for uri in view.uris:
        claimed = re.search(r"/node/([^/]+)$", uri)
        if node is not None and claimed and claimed[1] != node:
            yield f"the common name is for node {node}, the URI for node {printable(claimed[1])}"


def _spiffe(view: View) -> Iterator[str]:
    if view.uris and len(view.uris) != len([n for n in view.names if isinstance(n, x509.UniformResourceIdentifier)]):
        yield "it has another URI beside its SPIFFE identity"
    if len(view.uris) > 1:
        yield f"it has {len(view.uris)} SPIFFE identities"
    for uri in view.uris:
        if len(uri) > 2048 or not _SPIFFE.fullmatch(uri) or _DOTS.search(uri.removeprefix("spiffe:/")):
            yield f"{printable(uri)!r} is not a SPIFFE identity: a trust domain in lower case and a plain path"
        elif not view.is_ca and uri.count("/") == 2:
            yield f"{printable(uri)!r} names a trust domain and nobody in it"


def _irrevocable(view: View) -> Iterator[str]:
    certificate = view.certificate
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    points = view.get(x509.CRLDistributionPoints)
    access = view.get(x509.AuthorityInformationAccess)
    ocsp = isinstance(access, x509.AuthorityInformationAccess) and any(
        each.access_method == AuthorityInformationAccessOID.OCSP for each in access
    )
    if not view.is_ca and not view.is_root and points is None and not ocsp and life > LONG_LIFE:
        yield f"it lives {life.days} days and says nowhere where its revocation could be learnt"


def _serial(view: View) -> Iterator[str]:
    if not view.is_root and 0 < view.certificate.serial_number.bit_length() < FEW_BITS:
        yield f"its serial number {view.certificate.serial_number} is a counter's, not a random one"


def _path_length(view: View) -> Iterator[str]:
    basic = view.get(x509.BasicConstraints)
    if view.is_ca and not view.is_root and isinstance(basic, x509.BasicConstraints) and basic.path_length is None:
        yield "an intermediate CA without a path length can make CAs below itself without end"


def _no_key_identifier(view: View) -> Iterator[str]:
    if view.is_ca and view.get(x509.SubjectKeyIdentifier) is None:
        yield "a CA without subjectKeyIdentifier: after its key has been rotated, programs cannot tell the two apart"


def _identifiers(view: View) -> Iterator[str]:
    own = view.get(x509.AuthorityKeyIdentifier)
    if view.issuer is None or not isinstance(own, x509.AuthorityKeyIdentifier) or own.key_identifier is None:
        return
    theirs = next((e.value for e in view.issuer.extensions if isinstance(e.value, x509.SubjectKeyIdentifier)), None)
    if isinstance(theirs, x509.SubjectKeyIdentifier) and theirs.digest != own.key_identifier:
        yield "its authorityKeyIdentifier is not its issuer's subjectKeyIdentifier: OpenSSL does not find the issuer"


def _outlives(view: View) -> Iterator[str]:
    issuer = view.issuer
    if issuer is not None and view.certificate.not_valid_after_utc > issuer.not_valid_after_utc:
        yield f"it outlives its issuer, which ends on {issuer.not_valid_after_utc:%Y-%m-%d}: from then on it is refused"


def _by_root(view: View) -> Iterator[str]:
    issuer = view.issuer
    if not view.is_ca and issuer is not None and not view.is_root and issuer.subject == issuer.issuer:
        yield "a root signed it directly, so the root's key is in daily use"


def _unconstrained(view: View) -> Iterator[str]:
    if view.is_root and view.is_ca and view.get(x509.NameConstraints) is None:
        yield "a root without nameConstraints: machines that trust it believe it for every name in the world"


def _shared_key(view: View) -> Iterator[str]:
    for twin in view.twins:
        if twin.subject != view.certificate.subject:
            other = printable(twin.subject.rfc4514_string())
            yield f"its key is also that of {other}: one is the other, and losing one loses both"


def _serial_twice(view: View) -> Iterator[str]:
    if view.namesakes:
        yield f"another certificate of its issuer has its serial number {view.certificate.serial_number:x}"


def _weak_key(view: View) -> Iterator[str]:
    try:
        key = parse.public_key(view.certificate)
    except UnsupportedKey:
        yield "its public key is of a kind that TLS libraries do not read"
        return
    if keys.algorithm(key) != "unsupported":
        yield from keys.weaknesses(key)


def _long_name(view: View) -> Iterator[str]:
    for name in names.common_names(view.certificate.subject):
        if len(name) > 64:
            yield f"a common name has {len(name)} characters, 64 fit: strict programs refuse it"


def _no_usage(view: View) -> Iterator[str]:
    if not view.is_ca and not view.is_root and view.get(x509.KeyUsage) is None:
        yield "it has no keyUsage: its key may do everything, sign certificates included"


# ---------------------------------------------------------------------------------------------------------------- the table

_AGAIN = "sign it again: edgeward cert sign REQUEST"

_RULES = (
    Rule(id="mtls-no-purpose", severity=WARNING, paragraph="RFC 5280 4.2.1.12", check=_no_purpose,
         remedy="give servers serverAuth and clients clientAuth alone"),
    Rule(id="mtls-any-purpose", severity=WARNING, paragraph="RFC 5280 4.2.1.12", check=_any_purpose,
         remedy="give servers serverAuth and clients clientAuth alone"),
    Rule(id="mtls-both-purposes", severity=NOTE, paragraph="RFC 5280 4.2.1.12", check=_both_purposes,
         remedy="make two certificates with two keys where a program is both"),
    Rule(id="device-can-serve", severity=WARNING, paragraph="RFC 5280 4.2.1.12", check=_device_serves,
         remedy="give a device clientAuth alone"),
    Rule(id="device-wildcard", severity=ERROR, paragraph="RFC 9525 6.3", check=_device_wildcard,
         remedy="give each client a certificate with a name of its own"),
    Rule(id="device-node-subject", severity=ERROR, paragraph="Kubernetes node authorization: system:node:NAME",
         check=_node_subject, remedy="write it as O=system:nodes, CN=system:node:NAME"),
    Rule(id="device-two-identities", severity=ERROR, paragraph="SPIFFE X.509-SVID 2", check=_node_disagrees,
         remedy="one certificate, one device: sign it again with one name"),
    Rule(id="device-spiffe-form", severity=ERROR, paragraph="SPIFFE-ID 2, X.509-SVID 2", check=_spiffe,
         remedy="write one URI like spiffe://DOMAIN/node/NAME"),
    Rule(id="device-cannot-be-revoked", severity=WARNING, paragraph="RFC 5280 4.2.1.13, NIST SP 800-57-1 5.3.6",
         check=_irrevocable, remedy="make it shorter-lived and renew it, or name a CRL in it"),
    Rule(id="serial-predictable", severity=WARNING, paragraph="CA/B BR 7.1", check=_serial,
         remedy="take serial numbers at random: openssl x509 -CAcreateserial, or edgeward cert sign"),
    Rule(id="serial-twice", severity=ERROR, paragraph="RFC 5280 4.1.2.2", check=_serial_twice,
         remedy="revoke both and sign them again: a CRL cannot tell them apart"),
    Rule(id="key-shared", severity=ERROR, paragraph="NIST SP 800-57-1 5.2", check=_shared_key,
         remedy="make a key for each: edgeward key new"),
    Rule(id="key-weak", severity=ERROR, paragraph="CA/B BR 6.1.1.3", check=_weak_key, remedy="edgeward key new"),
    Rule(id="ca-path-length", severity=NOTE, paragraph="RFC 5280 4.2.1.9", check=_path_length,
         remedy="give an issuing CA the path length 0"),
    Rule(id="ca-no-key-identifier", severity=WARNING, paragraph="RFC 5280 4.2.1.2", check=_no_key_identifier,
         remedy="make the CA certificate again with subjectKeyIdentifier"),
    Rule(id="ca-unconstrained", severity=NOTE, paragraph="RFC 5280 4.2.1.10", check=_unconstrained,
         remedy="constrain a root that goes into trust stores to the names it is for"),
    Rule(id="issuer-identifier", severity=ERROR, paragraph="RFC 5280 4.2.1.1", check=_identifiers,
         remedy=_AGAIN + ", with the CA certificate that is in use"),
    Rule(id="issuer-outlived", severity=WARNING, paragraph="RFC 5280 6.1.3 (a)(2)", check=_outlives,
         remedy="end certificates before their CA, and rotate the CA in time"),
    Rule(id="issuer-is-root", severity=NOTE, paragraph="CA/B BR 6.1.7", check=_by_root,
         remedy="sign with an intermediate and keep the root's key offline"),
    Rule(id="name-too-long", severity=WARNING, paragraph="RFC 5280 A.1 (ub-common-name)", check=_long_name,
         remedy="put the name into subjectAltName and a short one into the common name"),
    Rule(id="no-key-usage", severity=NOTE, paragraph="RFC 5280 4.2.1.3", check=_no_usage,
         remedy="give a leaf digitalSignature"),
)  # fmt: skip

_PARAGRAPHS = {
    "never-valid": "RFC 5280 4.1.2.5", "expired": "RFC 5280 6.1.3 (a)(2)", "not-yet-valid": "RFC 5280 6.1.3 (a)(2)",
    "expires-soon": "RFC 5280 4.1.2.5", "lives-long": "Apple HT210176", "several-cns": "RFC 9525 2",
    "cn-only": "RFC 9525 2", "no-san": "RFC 9525 2", "cn-not-in-san": "RFC 9525 2",
    "san-not-critical": "RFC 5280 4.2.1.6", "nameless": "RFC 5280 4.1.2.6", "network-in-san": "RFC 5280 4.2.1.6",
    "empty-dns-name": "RFC 5280 4.2.1.6", "ip-in-dns-name": "RFC 9525 6.2", "odd-wildcard": "RFC 9525 6.3",
    "trailing-dot": "RFC 1034 3.5", "bad-dns-name": "RFC 1034 3.5", "ca-cannot-sign": "RFC 5280 4.2.1.3",
    "ca-without-key-usage": "RFC 5280 4.2.1.3", "ca-cannot-revoke": "RFC 5280 4.2.1.3",
    "signs-but-no-ca": "RFC 5280 4.2.1.9", "odd-path-length": "RFC 5280 4.2.1.9", "ca-not-critical": "RFC 5280 4.2.1.9",
    "self-signed-leaf": "RFC 5280 3.2", "usage-does-not-fit-key": "RFC 5480 3, RFC 8410 5",
    "usage-does-not-fit-purpose": "RFC 5280 4.2.1.12", "weak-signature": "RFC 9155 2, CA/B BR 7.1.3.2",
    "version-1": "RFC 5280 4.1.2.1", "odd-serial": "RFC 5280 4.1.2.2", "unknown-critical": "RFC 5280 4.2",
    "no-aki": "RFC 5280 4.2.1.1",
}  # fmt: skip
"""Where the rules that `inspect` warns of are written down."""

KEY_READABLE = Rule(
    id="key-readable", severity=ERROR, paragraph="NIST SP 800-57-1 6.2.2", remedy="make it yours alone: chmod 600 FILE"
)
"""A private key in the clear in a file that others may read. Only who opened the file can tell."""

RULES: dict[str, Rule] = {rule.id: rule for rule in (*_RULES, KEY_READABLE)}
IDS = frozenset({*RULES, *_PARAGRAPHS})
"""Every id that a finding of ours may have."""


def lint(certificates: Sequence[x509.Certificate], now: datetime) -> list[tuple[Finding, ...]]:
    """The findings on each of `certificates`, the gravest first, in the order given. `now` is aware UTC.

    They are looked at together: an issuer among them is found, and so are shared keys and serial numbers.
    """
    return [tuple(_judge(view, now)) for view in _views(certificates)]


def _views(certificates: Sequence[x509.Certificate]) -> list[View]:
    """Each certificate with its relatives. The same certificate given twice is no relative of itself."""
    family = chain.family(certificates)
    prints = [certificate.fingerprint(hashes.SHA256()) for certificate in certificates]
    by_key: dict[str, dict[bytes, x509.Certificate]] = {}
    by_serial: dict[tuple[bytes, int], dict[bytes, x509.Certificate]] = {}
    for certificate, own in zip(certificates, prints, strict=True):
        by_key.setdefault(chain.spki_digest(certificate), {})[own] = certificate
        by_serial.setdefault(_number(certificate), {})[own] = certificate
    views = []
    for place, (certificate, own) in enumerate(zip(certificates, prints, strict=True)):
        digest = chain.spki_digest(certificate)
        above = family.issuers[place]
        twins = [c for other, c in by_key[digest].items() if other != own] if digest else []
        namesakes = [c for other, c in by_serial[_number(certificate)].items() if other != own]
        issuer = certificate if above == place else certificates[above] if above >= 0 else None
        views.append(
            View(certificate=certificate, issuer=issuer, twins=tuple(twins[:20]), namesakes=tuple(namesakes[:1]))
        )
    return views


def _number(certificate: x509.Certificate) -> tuple[bytes, int]:
    return certificate.issuer.public_bytes(), certificate.serial_number


def _judge(view: View, now: datetime) -> list[Finding]:
    found = [
        Finding(id=rule.id, severity=rule.severity, text=text, paragraph=rule.paragraph, remedy=rule.remedy)
        for rule in _RULES
        if rule.check is not None
        for text in rule.check(view)
    ]
    key = key_of(view.certificate)
    for warning in certificate_warnings.warnings(view.certificate, key, now, self_signed=view.is_root):
        found.append(
            Finding(
                id=warning.id,
                severity=warning.severity,
                text=warning.text,
                paragraph=_PARAGRAPHS.get(warning.id, ""),
                remedy=warning.remedy or _REMEDIES.get(warning.id, _AGAIN),
            )
        )
    return worst_first(found)


_REMEDIES = {
    "expired": "renew it, and find out why nothing did so in time",
    "expires-soon": "renew it now",
    "not-yet-valid": "set the clock of whoever signs, and sign it again",
    "self-signed-leaf": "have a CA sign it, or give this very certificate to whoever is to accept it",
    "ca-without-key-usage": "make the CA again with keyUsage keyCertSign, cRLSign",
    "ca-cannot-sign": "make the CA again with keyUsage keyCertSign, cRLSign",
    "ca-cannot-revoke": "make the CA again with keyUsage keyCertSign, cRLSign",
    "ca-not-critical": "make the CA again with a critical basicConstraints",
    "lives-long": "make it shorter-lived and renew it",
    "version-1": "sign it again with extensions: openssl x509 -req -copy_extensions copy, or edgeward cert sign",
    "odd-serial": "take serial numbers at random, of at most 20 octets",
}
"""For the warnings that `inspect` leaves without a remedy."""


def rules() -> list[Listed]:
    """Every rule, those of `inspect` among them, in the order of their ids."""
    ours = (
        Listed(id=rule.id, severity=rule.severity, paragraph=rule.paragraph, remedy=rule.remedy)
        for rule in RULES.values()
    )
    others = (
        Listed(id=name, severity=None, paragraph=paragraph, remedy=_REMEDIES.get(name, _AGAIN))
        for name, paragraph in _PARAGRAPHS.items()
    )
    return sorted((*ours, *others), key=lambda rule: rule.id)
