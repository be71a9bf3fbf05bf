"""Path building: from the leaf upwards, along names, key identifiers and signatures, to an anchor. RFC 4158.

Depth first, the most promising issuer first: anchors before intermediates, a matching key identifier before an unknown
one before a mismatch, certificates that may issue now before those that may not. An edge exists only when its signature
verifies. A name and key that the path already has are not taken again, which ends every cycle. The `Meter` bounds all
of it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from edgeward.errors import printable
from edgeward.pki.verify.algorithms import Algorithms, key_objection, signature_objection
from edgeward.pki.verify.dn import DistinguishedName, shown
from edgeward.pki.verify.facts import Facts
from edgeward.pki.verify.meter import Meter
from edgeward.pki.verify.verdict import Rejected

_MOST_REJECTED = 64  # entries: enough to explain any honest failure, and a bound for a hostile one
_MOST_NAMESAKES = 64  # intermediates of one name that are tried at one place, after sorting: a re-keyed CA has a few


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """A path whose every signature verifies: the leaf first, the anchor apart.

    A leaf that is itself an anchor is a path of its own: it is trusted as it stands and nobody's signature is needed.
    """

    certificates: tuple[Facts, ...]
    anchor: Facts

    @property
    def pinned(self) -> bool:
        """The leaf is the anchor."""
        return self.certificates[0].der == self.anchor.der

    @property
    def whole(self) -> tuple[Facts, ...]:
        """Leaf to anchor, every certificate once."""
        return self.certificates if self.pinned else (*self.certificates, self.anchor)


def titles(certificates: Sequence[Facts]) -> tuple[str, ...]:
    """The names of certificates for people."""
    return tuple(printable(certificate.title) for certificate in certificates)


@dataclass(slots=True)
class _Namesakes:
    """The intermediates of one subject, those that may issue now before the others, and by subject key identifier."""

    every: list[Facts] = field(default_factory=list)
    by_key_id: dict[bytes | None, list[Facts]] = field(default_factory=dict)

    def add(self, certificate: Facts) -> None:
        self.every.append(certificate)
        self.by_key_id.setdefault(certificate.subject_key_id, []).append(certificate)

    def promising(self, key_id: bytes | None) -> Iterator[Facts]:
        """All of them, likely issuers first: those with the key identifier, those with none, and the rest."""
        if key_id is None:
            yield from self.every
            return
        yield from self.by_key_id.get(key_id, ())
        yield from self.by_key_id.get(None, ())
        yield from (one for one in self.every if one.subject_key_id not in (None, key_id))


@dataclass(slots=True)
class Builder:
    """Finds the paths of one verification and remembers why other edges were not taken."""

    anchors: Sequence[Facts]
    intermediates: Sequence[Facts]
    now: datetime
    algorithms: Algorithms
    meter: Meter
    rejected: list[Rejected] = field(default_factory=list)
    furthest: tuple[Facts, ...] = ()
    _anchors: dict[DistinguishedName, list[Facts]] = field(default_factory=dict)
    _others: dict[DistinguishedName, _Namesakes] = field(default_factory=dict)
    _anchor_ders: set[bytes] = field(default_factory=set)
    _reasons: dict[bytes, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for anchor in self.anchors:
            if anchor.der not in self._anchor_ders:
                self._anchor_ders.add(anchor.der)
                self._anchors.setdefault(anchor.subject, []).append(anchor)
        unique = {one.der: one for one in self.intermediates if one.der not in self._anchor_ders}
        for one in sorted(unique.values(), key=self._unusable):
            self._others.setdefault(one.subject, _Namesakes()).add(one)

    def _unusable(self, candidate: Facts) -> bool:
        return not (candidate.is_ca and candidate.not_before <= self.now <= candidate.not_after)

    def reject(self, certificates: Sequence[Facts], reason: str) -> None:
        """Remember a path that was not taken."""
        if len(self.rejected) < _MOST_REJECTED:
            self.rejected.append(Rejected(path=titles(certificates), reason=printable(reason, 400)))

    def paths(self, leaf: Facts) -> Iterator[Path]:
        """The paths from `leaf` to an anchor, the most promising first, until the budget ends."""
        self.furthest = (leaf,)
        if leaf.der in self._anchor_ders:
            yield Path((leaf,), leaf)
        yield from self._extend((leaf,))

    def _extend(self, certificates: tuple[Facts, ...]) -> Iterator[Path]:
        if len(certificates) > len(self.furthest):
            self.furthest = certificates
        top = certificates[-1]
        for anchor in self._anchors.get(top.issuer, ()):
            if anchor.der != certificates[0].der and self._issued(certificates, anchor):
                yield Path(certificates, anchor)
        taken = {(certificate.subject, certificate.spki) for certificate in certificates}
        namesakes = self._others.get(top.issuer)
        likely = namesakes.promising(top.authority_key_id) if namesakes else iter(())
        for issuer in islice(likely, _MOST_NAMESAKES):
            if (issuer.subject, issuer.spki) in taken or not self._issued(certificates, issuer):
                continue
            if len(certificates) < self.meter.budget.length:
                yield from self._extend((*certificates, issuer))
            else:
                self.reject((*certificates, issuer), f"it is longer than {self.meter.budget.length} certificates")

    def _issued(self, certificates: tuple[Facts, ...], issuer: Facts) -> bool:
        """Whether the key of `issuer` signed the top certificate. Counts a step; No once the steps are spent."""
        if not self.meter.take("steps"):
            return False
        if self.meter.verifies(certificates[-1].signed, issuer.spki, self.algorithms):
            return True
        why = self._why_not(certificates[-1], issuer)
        self._reasons[certificates[-1].der] = why
        self.reject((*certificates, issuer), why)
        return False

    def _why_not(self, certificate: Facts, issuer: Facts) -> str:
        """Why a signature counts as not verified."""
        if self.meter.spent:
            return f"it was not verified: the budget of {self.meter.spent} is spent"
        key = self.meter.key(issuer.spki)
        if isinstance(key, str):
            return f"the issuer's key cannot be used: {key}"
        if why := key_objection(key, self.algorithms):
            return f"the issuer has {why}"
        if why := signature_objection(certificate.signed, self.algorithms):
            return why
        return "the signature does not verify with this issuer's key"

    def dead_end(self) -> str:
        """Why no path reached an anchor, in words."""
        if self.meter.spent:
            return f"no path was found within the budget of {self.meter.spent}"
        top = self.furthest[-1]
        issuer = printable(shown(top.certificate.issuer))
        if top.issuer == top.subject and top.der not in self._anchor_ders:
            return f"it ends at {issuer}, which is its own issuer and not an anchor"
        if top.issuer in self._anchors or top.issuer in self._others:
            why = self._reasons.get(top.der, "each is in the path already")
            return f"no certificate at hand with the name of its issuer, {issuer}, issued it: {why}"
        return f"its issuer, {issuer}, is not at hand"
