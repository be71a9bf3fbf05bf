"""How the certificates and keys in a heap belong together: who issued whom, which key fits, and whether the order is
a chain's.

An issuer is found by its name and proven by its key; nothing is said about trust, time or purpose.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from edgeward.errors import UnsupportedKey
from edgeward.pki import parse
from edgeward.pki.inspect.certificate import issued_by
from edgeward.pki.inspect.names import dn
from edgeward.pki.inspect.report import Warning
from edgeward.pki.severity import Severity

MAX_CHECKS = 1_000
"""Signatures tried in one heap: 50 ms with P-256. A hostile heap of equal names would be quadratic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The certificates of a heap in the order given, and for each the place of its issuer among them.

    A self-signed certificate is its own issuer; -1 stands for an issuer that is not in the heap.
    """

    certificates: tuple[x509.Certificate, ...]
    issuers: tuple[int, ...]

    def is_root(self, place: int) -> bool:
        """Whether the certificate at `place` is self-signed."""
        return self.issuers[place] == place

    def path(self, place: int) -> list[int]:
        """The places from one certificate up to its root, or as far as the heap goes."""
        path = [place]
        while (above := self.issuers[path[-1]]) >= 0 and above not in path:
            path.append(above)
        return path

    def leaves(self) -> list[int]:
        """The places of the certificates that issued no other one."""
        parents = {issuer for place, issuer in enumerate(self.issuers) if issuer != place}
        return [place for place in range(len(self.certificates)) if place not in parents]


def family(certificates: Sequence[x509.Certificate]) -> Family:
    """Who issued whom among `certificates`, proven by signatures (at most `MAX_CHECKS` of them)."""
    by_name: dict[bytes, list[int]] = {}
    for place, certificate in enumerate(certificates):
        by_name.setdefault(certificate.subject.public_bytes(), []).append(place)
    checks = MAX_CHECKS
    issuers = []
    for place, certificate in enumerate(certificates):
        found = -1
        candidates = by_name.get(certificate.issuer.public_bytes(), [])
        # A self-signed certificate first of all is its own issuer, also where a namesake comes before it.
        for candidate in sorted(candidates, key=lambda other: other != place):
            if checks == 0:
                break
            checks -= 1
            if issued_by(certificate, certificates[candidate]):
                found = candidate
                break
        issuers.append(found)
    return Family(certificates=tuple(certificates), issuers=tuple(issuers))


def drawn(heap: Family) -> tuple[str, ...]:
    """The family as a tree, roots at the left."""
    children: dict[int, list[int]] = {}
    tops = []
    for place, issuer in enumerate(heap.issuers):
        if issuer in {-1, place}:
            tops.append(place)
        else:
            children.setdefault(issuer, []).append(place)
    lines: list[str] = []

    def draw(place: int, prefix: str, branch: str, below: str, seen: frozenset[int]) -> None:
        name = dn(heap.certificates[place].subject)
        lines.append(f"{prefix}{branch}{name}{' (self-signed)' if heap.is_root(place) else ''}")
        inside = [child for child in children.get(place, []) if child not in seen][:200]
        for number, child in enumerate(inside):
            last = number == len(inside) - 1
            if len(seen) < 20:
                draw(child, prefix + below, "└─ " if last else "├─ ", "   " if last else "│  ", seen | {child})

    for place in tops:
        if heap.issuers[place] == -1:
            lines.append(f"[{dn(heap.certificates[place].issuer)}: not here]")
            draw(place, "", "└─ ", "   ", frozenset({place}))
        else:
            draw(place, "", "", "", frozenset({place}))
    return tuple(lines)


def ordered(heap: Family) -> list[int]:
    """The places in the order in which a server sends them: each leaf, its issuers upwards, roots last, every one
    once.
    """
    order: list[int] = []
    paths = [heap.path(leaf) for leaf in heap.leaves()] or [[place] for place in range(len(heap.certificates))]
    for path in paths:
        order += [place for place in path if place not in order and not heap.is_root(place)]
    order += [place for place in range(len(heap.certificates)) if place not in order and not heap.is_root(place)]
    return order + [place for place in range(len(heap.certificates)) if heap.is_root(place)]


def spki_digest(holder: x509.Certificate | x509.CertificateSigningRequest) -> str:
    """SHA-256 of the public key in hexadecimal; empty for a key that cannot be read."""
    try:
        return key_digest(parse.public_key(holder))
    except UnsupportedKey:
        return ""


def warnings(heap: Family, key_digests: Sequence[str]) -> list[Warning]:
    """What is wrong with a heap as a whole. `key_digests` are the SHA-256 of the public halves of its private keys."""
    found = []
    certificates = heap.certificates
    ders = [certificate.fingerprint(hashes.SHA256()) for certificate in certificates]
    if len(set(ders)) < len(ders):
        found.append(Warning(id="duplicate", severity=Severity.NOTE, text="a certificate is in it more than once"))
    path = heap.path(0) if certificates else []
    if len(certificates) > 1 and len(heap.leaves()) == 1 and len(path) < len(certificates):
        names = " -> ".join(dn(certificates[place].subject) for place in heap.path(heap.leaves()[0])[:5])
        text = f"the certificates are not in the order of a chain: {names} is the order that servers must send"
        found.append(
            Warning(id="mixed-up-chain", severity=Severity.WARNING, text=text, remedy="edgeward bundle IN OUT")
        )
    elif len(certificates) > 1 and path[: len(certificates)] != list(range(len(path))) and len(heap.leaves()) == 1:
        text = "the certificates are not in the order of a chain: leaf first, then each one's issuer"
        found.append(
            Warning(id="mixed-up-chain", severity=Severity.WARNING, text=text, remedy="edgeward bundle IN OUT")
        )
    digests = {spki_digest(certificate) for certificate in certificates}
    if certificates and key_digests and not digests & set(key_digests):
        text = "the private key belongs to none of the certificates"
        found.append(Warning(id="key-does-not-match", severity=Severity.WARNING, text=text))
    return found


def key_digest(key: PublicKeyTypes) -> str:
    """SHA-256 of a public key's SubjectPublicKeyInfo in hexadecimal."""
    return hashlib.sha256(parse.spki(key)).hexdigest()
