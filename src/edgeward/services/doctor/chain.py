"""Judging the server's certificates: who signed them, for how long, with what and for what.

The path is built by `pki.verify` with old algorithms allowed, so that a weak one is called weak and not unknown; what is weak is looked at
apart.
"""

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from edgeward.errors import EdgewardError, printable
from edgeward.pki import parse
from edgeward.pki.inspect import chain as families
from edgeward.pki.inspect.certificate import issued_by
from edgeward.pki.inspect.names import dn
from edgeward.pki.severity import Severity
from edgeward.pki.verify import Algorithms, Outcome, Purpose, Question, Revocation, Verdict, verify
from edgeward.pki.verify.verdict import Check
from edgeward.services.doctor.case import Case, moment, read, span

SLOW_CLOCK = timedelta(minutes=5)
"""By how much two clocks may differ: servers date certificates back as far (kubeedge-wire, section 7)."""

SOON = timedelta(days=7)
LONG = timedelta(days=398)

_WEAK_DIGESTS = {
    "md2": ("MD2", "MD2-RSA", "MD2withRSA"), "md4": ("MD4", "MD4-RSA", "MD4withRSA"), "md5": ("MD5", "MD5-RSA", "MD5withRSA"),
    "sha1": ("SHA-1", "SHA1-RSA", "SHA1withRSA"),
}  # fmt: skip
_BETWEEN = ("intermediate", "issuing", "sub ca", "subca", "sub-ca")


def judge(case: Case) -> None:
    """Add what is wrong with the chain that the server shows."""
    shown = case.shown
    if shown is None:
        return
    sent = shown.certificates
    parsed = [read(der) for der in sent]
    if parsed[0] is None:
        try:
            parse.certificate(sent[0])
        except EdgewardError as error:
            case.add("unreadable-certificate", {"detail": str(error), "go_detail": "malformed certificate"})
        return
    certificates = [one for one in parsed if one is not None]
    leaf = certificates[0]
    verdict = verify(
        sent[0],
        now=case.now,
        anchors=case.trust.anchors,
        intermediates=sent[1:],
        question=Question(
            purpose=Purpose.SERVER,
            algorithms=Algorithms.LEGACY,
            revocation=Revocation.LEAF if case.trust.crls else None,
        ),
        crl=case.trust.crls,
    )
    heap = families.family(certificates)
    failed = {check.id for check in verdict.failures}
    _weak(case, [certificates[place] for place in heap.path(0)], anchored="path" not in failed)
    if "path" in failed:
        _no_path(case, certificates, heap)
    _rules(case, verdict, leaf)
    _dates(case, certificates)
    _order(case, certificates, heap)


# ------------------------------------------------------------------------------------------------------------------- who signed


def _no_path(case: Case, certificates: list[x509.Certificate], heap: families.Family) -> None:
    """Why no path leads to an anchor."""
    if case.has("weak-signature", "weak-key"):
        return
    path = heap.path(0)
    top = certificates[path[-1]]
    anchors = [one for one in map(read, case.trust.anchors) if one is not None]
    facts = {
        "issuer": dn(top.issuer),
        "anchors": ", ".join(dn(one.subject) for one in anchors[:5]) or "none",
        "issuer_key_id": _authority_key(top) or "without a key id",
    }
    if _through_a_proxy(case):
        case.add("tls-intercepted", facts)
        return
    severity = Severity.WARNING if case.trust.source == "system" else None
    namesakes = [one for one in anchors if one.subject == top.issuer]
    if namesakes:
        _namesake(case, top, namesakes[0], facts)
    elif heap.is_root(path[-1]) and len(path) == 1:
        case.add("self-signed", facts)
    elif not heap.is_root(path[-1]) and looks_intermediate(case, top, anchors):
        case.add("missing-intermediate", facts)
    else:
        why: tuple[str, ...] = ()
        if not heap.is_root(path[-1]):
            why = (
                f"If {dn(top.issuer)} is an intermediate below a CA that clients have, the server does not send it, and must.",
            )
        if case.trust.source == "system":
            why = (
                "No CA was given, and the CAs of this machine do not know it: say --ca FILE to judge as your clients do.",
                *why,
            )
        case.add("unknown-authority", facts, severity=severity, why=why)


def _namesake(case: Case, top: x509.Certificate, anchor: x509.Certificate, facts: dict[str, str]) -> None:
    name = printable(_common_name(anchor.subject))
    facts = facts | {"anchor_name": name, "subject": dn(anchor.subject)}
    if issued_by(top, anchor):
        case.add("issuer-is-no-ca", facts | {"detail": "the issuer that clients have may not issue"})
        return
    own = _subject_key(anchor) or anchor.fingerprint(SHA256()).hex()[:16]
    reason = (
        "crypto/rsa: verification error"
        if isinstance(anchor.public_key(), rsa.RSAPublicKey)
        else "x509: ECDSA verification failure"
    )
    by_key_id = bool(_authority_key(top) and _subject_key(anchor) and _authority_key(top) != _subject_key(anchor))
    said = {"Go": _GO_POSSIBLY.format(reason=reason, name=name), **_BY_KEY_ID} if by_key_id else None
    case.add("same-name-other-ca", facts | {"own_key_id": own, "go_reason": reason}, said=said)


_GO_POSSIBLY = (
    "tls: failed to verify certificate: x509: certificate signed by unknown authority (possibly because of"
    ' "{reason}" while trying to verify candidate authority certificate "{name}")'
)
_BY_KEY_ID = {
    "OpenSSL": "verify error:num=20:unable to get local issuer certificate",
    "Java": "javax.net.ssl.SSLHandshakeException: PKIX path validation failed: java.security.cert.CertPathValidatorException:"
    " Path does not chain with any of the trust anchors",
    "Node": "unable to verify the first certificate",
    "Python": "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local issuer certificate",
}
"""Where key identifiers tell the two CAs apart, programs but Go do not try the signature: the issuer is not there, they say."""


def _through_a_proxy(case: Case) -> bool:
    """Whether the server itself says, through whatever ended this TLS, that it is the one whose CA we have."""
    main = case.contact.main
    answer = main.answer if main is not None else None
    return (
        answer is not None
        and answer.status == 200
        and answer.body in case.trust.anchors
        and case.trust.source in ("given", "pinned")
    )


def looks_intermediate(case: Case, top: x509.Certificate, anchors: list[x509.Certificate]) -> bool:
    """Whether the issuer that is missing is probably an intermediate below one of the anchors: by what the certificate says of its
    issuer's issuer (RFC 5280 section 4.2.1.1), by an address to fetch the issuer from, by names, or by what our own chain has."""
    subjects = [one.subject for one in anchors]
    try:
        key = top.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    except x509.ExtensionNotFound:
        key = None
    for name in (key.authority_cert_issuer or []) if key is not None else []:
        if isinstance(name, x509.DirectoryName):
            return name.value in subjects and name.value != top.issuer
    above = [one for one in map(read, case.mine.certificates[1:] if case.mine is not None else ()) if one is not None]
    if any(one.subject == top.issuer and issued_by(top, one) for one in above):
        return True
    if any(word in _common_name(top.issuer).lower() for word in _BETWEEN):
        return True
    organizations = {o.value for o in top.issuer.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)}
    theirs = {o.value for name in subjects for o in name.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)}
    if case.trust.source == "given" and organizations & theirs:
        return True
    listed = case.shown.authorities if case.shown is not None else ()
    if case.trust.source == "given" and {name.public_bytes() for name in subjects} & set(listed):
        return True
    return _fetchable(top)


def _fetchable(certificate: x509.Certificate) -> bool:
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except x509.ExtensionNotFound:
        return False
    return any(one.access_method == x509.oid.AuthorityInformationAccessOID.CA_ISSUERS for one in access)


def _authority_key(certificate: x509.Certificate) -> str:
    try:
        found = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        return ""
    return (found or b"").hex()[:16]


def _subject_key(certificate: x509.Certificate) -> str:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()[:16]
    except x509.ExtensionNotFound:
        return ""


def _common_name(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(found[0].value) if found else dn(name)


# ------------------------------------------------------------------------------------------------------------------- the rules


def _rules(case: Case, verdict: Verdict, leaf: x509.Certificate) -> None:
    for check in verdict.checks:
        if check.outcome is Outcome.FAIL:
            _rule(case, check, leaf)
    _key_usage(case, leaf)


def _rule(case: Case, check: Check, leaf: x509.Certificate) -> None:
    facts = {"subject": check.certificate, "detail": check.words, "anchor_name": check.certificate}
    if check.id == "purpose" and check.position == 0:
        case.add("eku-server", {"usages": check.words.rpartition("only for ")[2]})
    elif check.id == "basic-constraints":
        case.add("issuer-is-no-ca", facts)
    elif check.id == "key-usage":
        case.add("key-usage", facts)
    elif check.id == "critical-extensions":
        case.add("critical-extension", facts | {"oid": check.words.rpartition(": ")[2]})
    elif check.id == "key":
        case.add("weak-key", facts | key_facts(leaf) if check.position == 0 else facts | {"key_kind": check.words})
    elif check.id == "revocation":
        id_ = "server-revoked" if "revoked" in check.words else ""
        if id_:
            case.add(id_, facts | {"since": check.words.rpartition(" since ")[2].partition(" ")[0]})
    elif check.id in {"path-length", "name-constraints", "policies", "signature", "purpose"}:
        case.add("chain-rule", facts)


def _key_usage(case: Case, leaf: x509.Certificate) -> None:
    try:
        usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not (usage.digital_signature or usage.key_encipherment or usage.key_agreement):
        detail = "a server's key must be allowed to sign handshakes (digitalSignature)"
        case.add("key-usage", {"subject": dn(leaf.subject), "detail": detail})


def key_facts(certificate: x509.Certificate) -> dict[str, str]:
    """The kind and size of a certificate's key."""
    try:
        key = parse.public_key(certificate)
    except EdgewardError as error:
        return {"key_kind": str(error), "bits": "?"}
    if isinstance(key, rsa.RSAPublicKey):
        return {"key_kind": f"RSA with {key.key_size} bits", "bits": str(key.key_size)}
    if isinstance(key, ec.EllipticCurvePublicKey):
        return {"key_kind": f"EC on {key.curve.name}", "bits": str(key.key_size)}
    return {"key_kind": type(key).__name__.removesuffix("PublicKey"), "bits": ""}


def weak_digest(certificate: x509.Certificate) -> dict[str, str]:
    """The facts of a signature with a broken digest; empty for a sound one."""
    try:
        digest = certificate.signature_hash_algorithm
    except (ValueError, TypeError):  # the library knows no digest for it: another algorithm, judged elsewhere
        return {}
    found = _WEAK_DIGESTS.get(digest.name if digest is not None else "")
    if found is None:
        return {}
    go = found[1] if isinstance(certificate.public_key(), rsa.RSAPublicKey) else found[1].replace("-RSA", "-RSA")
    return {"algorithm": found[0], "go_algorithm": go, "java_algorithm": found[2]}


def weak_key(certificate: x509.Certificate) -> bool:
    """Whether OpenSSL's default level refuses the key: RSA below 2048 bits, EC below 224."""
    try:
        key = parse.public_key(certificate)
    except EdgewardError:
        return False
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size < 2048
    return isinstance(key, ec.EllipticCurvePublicKey) and key.key_size < 224


def _weak(case: Case, path: list[x509.Certificate], *, anchored: bool) -> None:
    for certificate in path:
        subject = dn(certificate.subject)
        if certificate.subject != certificate.issuer and (digest := weak_digest(certificate)):
            case.add(
                "weak-signature",
                digest | {"subject": subject, "anchor_name": printable(_common_name(certificate.issuer))},
            )
        if weak_key(certificate):
            case.add("weak-key", key_facts(certificate) | {"subject": subject})


# ----------------------------------------------------------------------------------------------------------------------- dates


def date_facts(certificate: x509.Certificate, now: datetime) -> dict[str, str]:
    """The facts of a certificate's dates."""
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return {
        "subject": dn(certificate.subject),
        "not_before": moment(start),
        "not_after": moment(end),
        "now": moment(now),
        "ago": span(now - end if now > end else end - now if now >= start else start - now),
        "java_not_after": end.strftime("%a %b %d %H:%M:%S UTC %Y"),
        "java_not_before": start.strftime("%a %b %d %H:%M:%S UTC %Y"),
    }


def _dates(case: Case, certificates: list[x509.Certificate]) -> None:
    now, theirs = case.now, case.server_time
    anchors = [one for one in map(read, case.trust.anchors) if one is not None]
    path = _used(certificates, anchors if case.trust.source != "system" else [])
    for certificate in path:
        facts = date_facts(certificate, now)
        start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        clock = {"server_time": moment(theirs), "skew": span(theirs - now)} if theirs is not None else {}
        good_there = theirs is not None and abs(theirs - now) > timedelta(minutes=1) and start <= theirs <= end
        if now < start.replace(microsecond=0):
            why = () if theirs is not None else (f"Or the clock of this machine is behind: it says {moment(now)}.",)
            case.add("clock-behind" if good_there else "not-yet-valid", facts | clock, why=why)
        elif now > end + timedelta(seconds=1):
            why = () if theirs is not None else (f"Or the clock of this machine is ahead: it says {moment(now)}.",)
            case.add("clock-ahead" if good_there else "expired", facts | clock, why=why)
        elif end - now < min(SOON, (end - start) / 10):
            case.add("expires-soon", facts)
    if theirs is not None and abs(theirs - now) > SLOW_CLOCK and not case.has("clock-ahead", "clock-behind"):
        case.add("clocks-differ", {"server_time": moment(theirs), "now": moment(now), "skew": span(theirs - now)})
    leaf = certificates[0]
    life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    if life > LONG and case.trust.source == "system":
        case.add("long-lived", {"days": str(life.days)})


def _used(certificates: list[x509.Certificate], anchors: list[x509.Certificate]) -> list[x509.Certificate]:
    """The certificates that a client judges: the leaf, those above it, and the anchor that it ends at."""
    heap = families.family(certificates)
    path = [certificates[place] for place in heap.path(0)]
    for place, one in enumerate(path):
        anchor = next((a for a in anchors if a.subject == one.issuer and issued_by(one, a)), None)
        if anchor is not None:
            return [*path[: place + 1], *([anchor] if anchor != one else [])]
    return path


# ----------------------------------------------------------------------------------------------------------------------- order


def _order(case: Case, certificates: list[x509.Certificate], heap: families.Family) -> None:
    path = heap.path(0)
    names = " → ".join(dn(certificates[place].subject) for place in path)
    if (
        len(certificates) > 1
        and len(path) == 1
        and any(heap.issuers[place] == 0 for place in range(1, len(certificates)))
    ):
        case.add("wrong-leaf-first", {"first": dn(certificates[0].subject)})
    elif path != list(range(len(path))):
        sent = ", ".join(dn(one.subject) for one in certificates)
        case.add("chain-order", {"detail": f"It sends {sent}; the order is {names}."})
    elif len(path) < len(certificates):
        strangers = [dn(one.subject) for place, one in enumerate(certificates) if place not in path]
        case.add("strangers-in-chain", {"count": str(len(strangers)), "detail": ", ".join(strangers[:5])})


def trusted_path(leaf: bytes, above: tuple[bytes, ...], anchor: bytes, now: datetime) -> bool:
    """Whether a server's chain is valid under exactly this CA: what must hold before a token is sent."""
    question = Question(purpose=Purpose.SERVER, algorithms=Algorithms.LEGACY)
    try:
        return verify(leaf, now=now, anchors=(anchor,), intermediates=above, question=question).valid
    except EdgewardError:
        return False
