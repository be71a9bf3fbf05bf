"""Judging what lies on a disk: files as they were read, findings out. Pure; who reads them is the caller.

`Seen` is a file with what was found in it. Judgements of one file come first, those of several together after them, and those of a known
place (an edge's directory, Secrets of KubeEdge) last: there the roles of the files are known, so nothing has to be guessed.
"""

import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from edgeward.errors import EdgewardError, Unreadable
from edgeward.model.finding import Finding
from edgeward.pki import keys, names, parse
from edgeward.pki.formats import pkcs8
from edgeward.pki.formats.item import Item, Kind, leaves
from edgeward.pki.inspect import certificate_warnings, chain
from edgeward.pki.severity import Severity, worst_first
from edgeward.services.doctor.catalogue import finding
from edgeward.services.doctor.entries import ENTRIES

_PEM_NAMES = (".pem", ".crt", ".cer", ".key", ".csr", ".chain", ".bundle")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A file as it was seen. `mode` and `owner` are None where nobody could know them (standard input); `mine`: the owners that are
    nobody else (the caller and root). `problem`: why nothing could be read out of it."""

    path: str
    items: tuple[Item, ...] = ()
    octets: int = 0
    mode: int | None = None
    owner: int | None = None
    mine: tuple[int, ...] = (0,)
    problem: EdgewardError | None = None

    @property
    def parts(self) -> list[Item]:
        """Everything in it that is no container."""
        return list(leaves(self.items))

    def certificates(self) -> list[x509.Certificate]:
        """The certificates in it that can be read, in order."""
        return list(_certificates(self.parts))

    def key_digests(self) -> list[str]:
        """SHA-256 of the public half of each private key in it that can be read."""
        return [digest for item in self.parts if (digest := _digest(item))]

    @property
    def has_key(self) -> bool:
        """Whether there is a private key in the clear in it."""
        return any(item.kind is Kind.PRIVATE_KEY for item in self.parts) or any(
            item.kind is Kind.BROKEN and "PRIVATE KEY" in item.label for item in self.parts
        )


def _certificates(items: Iterable[Item]) -> Iterator[x509.Certificate]:
    for item in items:
        if item.kind is Kind.CERTIFICATE and item.problem is None:
            try:
                yield parse.certificate(item.data)
            except Unreadable:
                continue


def _digest(item: Item) -> str:
    if item.kind is not Kind.PRIVATE_KEY or item.problem is not None:
        return ""
    try:
        return chain.key_digest(pkcs8.read(item.data).public_key())
    except EdgewardError:
        return ""


def found(id_: str, severity: Severity | None = None, /, **facts: str) -> Finding:
    """The finding of that id, with our remedies first."""
    return finding(ENTRIES[id_], facts, severity=severity, systems=("edgeward", "shell"))


# ------------------------------------------------------------------------------------------------------------ one file


def judge(seen: Seen, now: datetime) -> Iterator[Finding]:
    """What is wrong with one file by itself."""
    if seen.problem is not None:
        empty = seen.octets == 0
        yield found("file-empty" if empty else "file-unreadable", file=seen.path, detail=str(seen.problem))
        return
    yield from _written(seen)
    yield from _protected(seen)
    for certificate in seen.certificates():
        yield from judge_certificate(certificate, seen.path, now)
    yield from _order(seen)


_NOTES = (
    (re.compile(r"byte order mark"), "file-bom"),
    (re.compile(r"UTF-16"), "file-utf16"),
    (re.compile(r"CRLF"), "file-crlf"),
    (re.compile(r"DER under a PEM name"), "file-der"),
    (re.compile(r"PEM text under a DER name"), "file-pem"),
    (re.compile(r"labelled (?P<label>[A-Z0-9 ]+), but it is a (?P<actual_kind>[^\n]+)"), "file-label"),
    (re.compile(r"trailing data|behind its end|outside of the blocks|between|text around"), "file-trailing"),
)
"""What the reader of files remarks, and what that means."""


def _written(seen: Seen) -> Iterator[Finding]:
    """How it is written: marks, line ends, labels, rests, blocks that cannot be read."""
    told: set[str] = set()
    first = seen.items[0] if seen.items else None
    if (
        first is not None
        and first.encoding == "DER"
        and seen.path.lower().endswith(_PEM_NAMES)
        and first.kind is not Kind.PKCS12
    ):
        told.add("file-der")
        strict = seen.path.lower().endswith((".pem", ".key"))
        yield found("file-der", Severity.ERROR if strict else None, file=seen.path)
    for item in seen.parts:
        for remark in item.notes:
            for pattern, id_ in _NOTES:
                match = pattern.search(remark)
                if match is not None and id_ not in told:
                    told.add(id_)
                    yield found(id_, file=seen.path, detail=remark, **match.groupdict())
        wrong = _wrong_label(item)
        if wrong and "file-label" not in told:
            told.add("file-label")
            yield found("file-label", file=seen.path, label=item.label, actual_kind=wrong)
        if item.problem is not None and item.kind not in {Kind.ENCRYPTED_KEY, Kind.PKCS12, Kind.JKS, Kind.JCEKS}:
            yield found("file-block", file=seen.path, detail=str(item.problem))
        elif item.kind is Kind.ENCRYPTED_KEY:
            yield found("key-locked", Severity.NOTE, key=seen.path, cert="client.crt", address="HOST:PORT")


_SHAPES = {"PRIVATE KEY": "PKCS#8", "EC PRIVATE KEY": "SEC 1", "RSA PRIVATE KEY": "PKCS#1"}


def _wrong_label(item: Item) -> str:
    """What a private key's octets are, where that is not what its label says."""
    if item.kind is not Kind.PRIVATE_KEY or item.encoding != "PEM" or item.label not in _SHAPES:
        return ""
    actual = key_form(item.data)
    return "" if actual in {_SHAPES[item.label], ""} else f"a key in {actual} form"


def key_form(der: bytes) -> str:
    """The form of a private key's DER: PKCS#8, SEC 1 or PKCS#1; empty for what is none of them."""
    try:
        key = pkcs8.read(der)
    except EdgewardError:
        return ""
    encodings = {"PKCS#8": serialization.PrivateFormat.PKCS8, "SEC 1": serialization.PrivateFormat.TraditionalOpenSSL}
    for form, private in encodings.items():
        try:
            if key.private_bytes(serialization.Encoding.DER, private, serialization.NoEncryption())[:16] == der[:16]:
                return form if form == "PKCS#8" or isinstance(key, ec.EllipticCurvePrivateKey) else "PKCS#1"
        except ValueError:  # this kind of key has no such form
            continue
    # lengths differ where the public half is left out: a PKCS#8 begins with version 0 and an algorithm, SEC 1 with version 1
    head = der[:12]
    if b"\x02\x01\x01\x04" in head:
        return "SEC 1"
    return "PKCS#8" if b"\x02\x01\x00\x30" in head else "PKCS#1" if b"\x02\x01\x00\x02" in head else ""


def _protected(seen: Seen) -> Iterator[Finding]:
    """Who may read and write it, if it holds a private key."""
    if seen.mode is None or not seen.has_key:
        return
    mode = stat.S_IMODE(seen.mode)
    if mode & 0o077:
        verb = "change" if mode & 0o022 else "read"
        yield found("key-mode", file=seen.path, mode=f"{mode:04o}", verb=verb)
    if seen.owner is not None and seen.owner not in seen.mine:
        yield found("key-owner", file=seen.path, owner=str(seen.owner))


def judge_directory(path: str, mode: int, owner: int, mine: Sequence[int]) -> Iterator[Finding]:
    """Who may write into a directory that holds keys. One that is sticky, like /tmp, is nobody's to judge."""
    if stat.S_IMODE(mode) & 0o022 and not mode & stat.S_ISVTX:
        yield found("directory-mode", directory=path, mode=f"{stat.S_IMODE(mode):04o}")


_SOON = certificate_warnings.SOON


def judge_certificate(certificate: x509.Certificate, path: str, now: datetime) -> Iterator[Finding]:
    """A certificate's dates, key and signature."""
    subject = names_of(certificate)
    facts = {"subject": subject, "file": path, "server_cert": path}
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    facts |= {"not_before": _moment(start), "not_after": _moment(end)}
    if now > end:
        yield found("expired", **facts, ago=_span(now - end))
    elif now < start:
        yield found("not-yet-valid", **facts, ago=_span(start - now))
    elif end - now < min(_SOON, (end - start) / 5):
        yield found("expires-soon", **facts, ago=_span(end - now))
    try:
        key = parse.public_key(certificate)
    except EdgewardError as error:
        yield found("weak-key", **facts, key_kind=str(error))
        return
    bits = getattr(key, "key_size", 0)
    if keys.describe(key).startswith("RSA") and bits < 2048:
        yield found("weak-key", **facts, key_kind=keys.describe(key), bits=str(bits))
    algorithm = certificate.signature_hash_algorithm
    self_signed = certificate.subject == certificate.issuer
    if algorithm is not None and algorithm.name in {"md5", "sha1"} and not self_signed:
        yield found("weak-signature", **facts, algorithm=algorithm.name.upper())


def names_of(certificate: x509.Certificate) -> str:
    """A certificate's subject, or its first name where the subject is empty."""
    return certificate.subject.rfc4514_string() or "a certificate without a subject"


def _moment(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")


def _span(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _order(seen: Seen) -> Iterator[Finding]:
    certificates = list(_certificates(seen.items))  # those of a key store or a Secret have no order
    heap = chain.family(certificates)
    tops = [place for place in heap.leaves() if not heap.is_root(place)]
    if len(tops) != 1:  # a bundle of CAs, or several chains: no order to keep
        return
    path = heap.path(tops[0])
    if tops[0] != 0:
        first = names_of(certificates[0])
        yield found("wrong-leaf-first", file=seen.path, server_cert=seen.path, first=first)
    elif path != list(range(len(path))):
        wanted = " -> ".join(names_of(certificates[place]) for place in path)
        yield found("chain-order", file=seen.path, server_cert=seen.path, detail=f"The order must be {wanted}.")


# -------------------------------------------------------------------------------------------------------- files together


def judge_together(several: Sequence[Seen], now: datetime) -> Iterator[Finding]:
    """Whether keys, certificates and CAs belong together: files that somebody named in one breath."""
    several = [
        seen for seen in several if not any(item.kind is Kind.KUBERNETES_SECRET for item in seen.items)
    ]  # they say themselves
    holders = [(seen, certificate) for seen in several for certificate in seen.certificates()]
    digests = {chain.spki_digest(certificate) for _, certificate in holders}
    leaf = [(seen, certificate) for seen, certificate in holders if not _is_ca(certificate)] or holders
    loose = (
        []
        if not holders
        else [(seen, digest) for seen in several for digest in seen.key_digests() if digest not in digests]
    )
    keyed = {digest for seen in several for digest in seen.key_digests()}
    unkeyed = [(seen, certificate) for seen, certificate in leaf if chain.spki_digest(certificate) not in keyed]
    for seen, _ in loose:
        if len(loose) == 1 and len(unkeyed) == 1 and unkeyed[0][0].path:
            yield found("key-mismatch", key=seen.path, cert=unkeyed[0][0].path)
        else:
            yield found("key-without-certificate", file=seen.path)
    yield from _issuers(holders)


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except (x509.ExtensionNotFound, ValueError):
        return certificate.subject == certificate.issuer


def _issuers(holders: Sequence[tuple[Seen, x509.Certificate]]) -> Iterator[Finding]:
    """Whether every certificate's issuer is there, when there are CAs to look among."""
    certificates = [certificate for _, certificate in holders]
    heap = chain.family(certificates)
    roots = [place for place, certificate in enumerate(certificates) if _is_ca(certificate)]
    for place, (seen, certificate) in enumerate(holders):
        if heap.issuers[place] != -1:
            continue
        namesake = next(
            (root for root in roots if certificates[root].subject == certificate.issuer and root != place), None
        )
        facts = {"subject": names_of(certificate), "issuer": certificate.issuer.rfc4514_string(), "file": seen.path}
        if namesake is not None:
            detail = (
                f"Its issuer has the same name, {facts['issuer']}, and another key: the CA was made anew since, or it is another"
                " installation's."
            )
            yield found("not-signed-by-ca", **facts, ca_file=holders[namesake][0].path, detail=detail)
        elif roots and not (place in roots and len(roots) == 1):
            yield found(
                "not-signed-by-ca",
                **facts,
                ca_file=holders[roots[0]][0].path,
                detail=f"Its issuer is {facts['issuer']}.",
            )
        elif len(holders) > 1 and not _is_ca(certificate):  # a root may be left out
            yield found("issuer-not-here", **facts)


def is_for_clients(certificate: x509.Certificate) -> bool:
    """Whether a certificate may prove a client."""
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, ValueError):
        return True
    return ExtendedKeyUsageOID.CLIENT_AUTH in usages or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usages


def node_of(certificate: x509.Certificate) -> str:
    """The node that a certificate is for, empty when it is for none."""
    return names.node_of(certificate.subject) or ""


def first(findings: Iterable[Finding]) -> list[Finding]:
    """The findings, errors first; of those that say the same of the same thing, one."""
    return worst_first({(one.id, one.what): one for one in findings}.values())
