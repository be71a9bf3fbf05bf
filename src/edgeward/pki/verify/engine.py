"""One verification from beginning to end: read, build paths, judge them, and report everything.

The first path that passes every rule wins. When none does, the verdict shows the one that came closest; when
none reaches an anchor, it shows how far the building came. `now` is an argument and there is no randomness: the same
inputs give the same verdict.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import TypeVar

from edgeward.errors import InputError, UsageError, printable
from edgeward.pki.verify import crl as crls
from edgeward.pki.verify import facts, ocsp
from edgeward.pki.verify.algorithms import Algorithms
from edgeward.pki.verify.build import Builder, Path
from edgeward.pki.verify.constraints import check_constraints
from edgeward.pki.verify.facts import Facts
from edgeward.pki.verify.forms import check_form
from edgeward.pki.verify.meter import Meter
from edgeward.pki.verify.names import PeerName, check_name
from edgeward.pki.verify.options import Limits, PolicyInputs, Profile, Purpose, Revocation
from edgeward.pki.verify.policies import check_policies
from edgeward.pki.verify.revocation import Statuses
from edgeward.pki.verify.rules import Place, check_certificate, check_places, check_purpose, places
from edgeward.pki.verify.verdict import Check, Outcome, Rejected, Step, Verdict, failed, passed, skipped
from edgeward.pki.verify.webpki import check_webpki

_Read = TypeVar("_Read")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of a certificate, apart from the certificates themselves.

    `names` must all be matched by the leaf. `algorithms` and `revocation` left at None follow from the rest: the
    profile decides the strength, and the whole chain's status is asked when any CRL or OCSP response is given.
    `strict_wildcards` makes `webpki` refuse wildcards for the customers of hosters too, not only of registries.
    """

    purpose: Purpose = Purpose.ANY
    names: tuple[PeerName, ...] = ()
    profile: Profile = Profile.DEVICE
    algorithms: Algorithms | None = None
    revocation: Revocation | None = None
    limits: Limits = field(default_factory=Limits)
    strict_wildcards: bool = False

    @property
    def strength(self) -> Algorithms:
        """The algorithms that count as good enough."""
        return self.algorithms or (Algorithms.WEBPKI if self.profile is Profile.WEBPKI else Algorithms.CURRENT)


@dataclass(slots=True)
class _Reader:
    """Reads what else was given beside the leaf, and lists what could not be read instead of stopping at it."""

    rejected: list[Rejected] = field(default_factory=list)

    def reject(self, what: str, reason: str) -> None:
        self.rejected.append(Rejected(path=(what,), reason=printable(reason, 400)))

    def read(self, what: str, ders: Iterable[bytes], limit: int | None = None) -> list[Facts]:
        found = []
        for number, der in enumerate(ders, 1):
            if limit is not None and number > limit:
                self.reject(what, f"only the first {limit} were read")
                break
            try:
                found.append(facts.read(der))
            except InputError as error:
                self.reject(f"{what} {number}", str(error))
        return found

    def lists(self, ders: Iterable[bytes]) -> list[crls.Crl]:
        found = []
        for number, der in enumerate(ders, 1):
            try:
                found.append(crls.read(der))
            except InputError as error:
                self.reject(f"CRL {number}", str(error))
        return found

    def responses(self, ders: Iterable[bytes]) -> list[ocsp.Response]:
        found = []
        for number, der in enumerate(ders, 1):
            try:
                found.append(ocsp.read(der))
            except InputError as error:
                self.reject(f"OCSP response {number}", str(error))
        return found


@dataclass(slots=True)
class _Judgement:
    """The checks of one complete path. `ruled` says that the rules of the path pass, so that form and status were
    asked.
    """

    path: Path
    checks: list[Check]
    policies: tuple[str, ...]
    ruled: bool = False

    @property
    def failures(self) -> int:
        return sum(check.outcome is Outcome.FAIL for check in self.checks)


@dataclass(slots=True)
class _Verification:
    """The state of one call of `verify`."""

    question: Question
    now: datetime
    anchors: list[Facts]
    intermediates: list[Facts]
    revocation: Revocation
    meter: Meter
    lists: list[crls.Crl]
    responses: list[ocsp.Response]
    unread: list[Rejected]
    statuses: Statuses = field(init=False)

    def __post_init__(self) -> None:
        self.statuses = Statuses(
            lists=self.lists,
            responses=self.responses,
            pool=[*self.anchors, *self.intermediates],
            now=self.now,
            algorithms=self.question.strength,
            profile=self.question.profile,
            meter=self.meter,
            signer_path=self._signer_path,
        )

    def builder(self, anchors: list[Facts]) -> Builder:
        return Builder(anchors, self.intermediates, self.now, self.question.strength, self.meter)

    def rules(self, path: Path, purpose: Purpose, limits: Limits) -> _Judgement:
        """The rules of RFC 5280 section 6.1 but for revocation."""
        checks = check_places(path, self.now, self.question.strength, purpose, limits, self.meter)
        checks += check_constraints(path.certificates, path.anchor, self.meter) if not path.pinned else []
        policy_checks, policies = check_policies(path.certificates, limits.policies)
        return _Judgement(path, checks + policy_checks, policies)

    def form(self, place: Place) -> list[Check]:
        """What the profile asks beyond the rules of the path, worked out once for a certificate at its place."""

        def work() -> list[Check]:
            profile = self.question.profile
            checks = [] if profile is Profile.DEVICE else check_form(place, profile, self.meter)
            if profile is Profile.WEBPKI:
                checks += check_webpki(place, self.question.purpose, self.question.strict_wildcards)
            return checks

        return self.meter.once(f"form {place.position} {place.anchor}", place.certificate.der, work)

    def forms(self, path: Path) -> list[Check]:
        return [check for place in places(path) for check in self.form(place)]

    def judge(self, path: Path) -> _Judgement:
        """One complete path: its rules, then its form, then its status; each is asked only of a path that passed so
        far.
        """
        judgement = self.rules(path, self.question.purpose, self.question.limits)
        judgement.ruled = not judgement.failures
        if judgement.ruled:
            judgement.checks += self.forms(path)
            judgement.checks += self._revocation(path, self.revocation, judgement.failures)
        return judgement

    def complete(self, judgement: _Judgement) -> None:
        """Add what `judge` left out of a path that fails: it is the one to be shown."""
        if not judgement.ruled:
            judgement.checks += self.forms(judgement.path)
            judgement.checks += self._revocation(judgement.path, self.revocation, judgement.failures)

    def _revocation(self, path: Path, wanted: Revocation, failures: int) -> list[Check]:
        paragraph = "RFC 5280 section 6.1.3(a)(3)"
        if wanted is Revocation.NONE:
            return [skipped("revocation", paragraph, "revocation was not looked at: no CRL or OCSP response was given")]
        if path.pinned:
            return [skipped("revocation", paragraph, "an anchor has no issuer that could revoke it")]
        if failures:
            return [skipped("revocation", paragraph, "revocation was not looked at: the path fails already")]
        last = 0 if wanted is Revocation.LEAF else len(path.certificates) - 1
        return [self.statuses.check(path, position) for position in range(last, -1, -1)]

    def _signer_path(self, signer: Facts, anchor: Facts) -> str:
        """Why the signer of a CRL has no valid path to `anchor`. RFC 5280 section 6.3.3(f)."""
        builder = self.builder([anchor])
        limits = Limits(policies=PolicyInputs(), budget=self.question.limits.budget)
        reason = ""
        for path in builder.paths(signer):
            if not self.afford(path):
                break
            judgement = self.rules(path, Purpose.ANY, limits)
            judgement.checks += self._revocation(path, self.revocation, judgement.failures)
            if not judgement.failures:
                return ""
            first = next(check for check in judgement.checks if check.outcome is Outcome.FAIL)
            reason = reason or f"{first.certificate}: {first.words}"
        return reason or builder.dead_end()

    def afford(self, path: Path) -> bool:
        """Whether one more complete path may be judged."""
        return self.meter.take("paths") and self.meter.take("octets", sum(len(one.der) for one in path.whole))

    def unfinished(self, builder: Builder) -> list[Check]:
        """What can be said without a complete path: the rules for each certificate that building reached."""
        checks: list[Check] = []
        for position, certificate in enumerate(builder.furthest):
            place = Place(certificate, position, False)
            done = check_certificate(place, self.now, self.question.strength, self.meter)
            checks += [check for check in done if check.id != "signature"]
            checks.append(check_purpose(place, self.question.purpose))
        checks += self.form(Place(builder.furthest[0], 0, False))
        remedy = "give the missing CA certificates with --chain and the trusted ones with --ca"
        top = len(builder.furthest) - 1
        words = builder.dead_end() + (f" ({len(self.unread)} of the inputs could not be read)" if self.unread else "")
        checks.append(failed("path", "RFC 5280 section 6.1", words, top, builder.furthest[top].title, remedy))
        return checks


def _step(certificate: Facts, anchor: bool) -> Step:
    value = certificate.certificate
    return Step(
        subject=printable(certificate.title),
        issuer=printable(value.issuer.rfc4514_string()),
        serial=f"{value.serial_number:x}",
        not_before=certificate.not_before.isoformat(),
        not_after=certificate.not_after.isoformat(),
        sha256=sha256(certificate.der).hexdigest(),
        anchor=anchor,
    )


def _reason(judgement: _Judgement) -> str:
    """The failures of a rejected path in one line."""
    words = [
        f"{check.certificate}: {check.words}" if check.certificate else check.words
        for check in judgement.checks
        if check.outcome is Outcome.FAIL
    ]
    return "; ".join(words[:3]) + (f"; and {len(words) - 3} more" if len(words) > 3 else "")


def verify(
    leaf: bytes,
    *,
    now: datetime,
    anchors: Iterable[bytes],
    intermediates: Iterable[bytes] = (),
    question: Question | None = None,
    crl: Iterable[bytes] = (),
    ocsp_responses: Iterable[bytes] = (),
) -> Verdict:
    """Whether `leaf` is valid at `now` for what `question` asks, and why. RFC 5280 section 6, RFC 9525, RFC 9618, RFC
    6960.

    `leaf`, `anchors`, `intermediates`, `crl` and `ocsp_responses` are DER; `now` is aware and fractions of its second
    do not count. An anchor is trusted as it stands, but its period, its constraints and its right to sign certificates
    still count. Only an unreadable leaf raises (`Unreadable`, `TooLarge`: the input's fault); everything else that
    cannot be read is listed in `Verdict.rejected` and not used. The work is bounded by `question.limits.budget`.
    """
    if now.utcoffset() is None:
        raise UsageError(problem="the time of a verification must say its time zone")
    asked = question or Question()
    reader = _Reader()
    subject = facts.read(leaf)
    lists, responses = reader.lists(crl), reader.responses(ocsp_responses)
    given = bool(lists or responses or reader.rejected)
    verification = _Verification(
        question=asked,
        now=now,
        anchors=reader.read("anchor", anchors),
        intermediates=reader.read("certificate", intermediates, asked.limits.budget.certificates),
        revocation=asked.revocation or (Revocation.CHAIN if given else Revocation.NONE),
        meter=Meter(asked.limits.budget),
        lists=lists,
        responses=responses,
        unread=reader.rejected,
    )
    return _conclude(verification, subject)


def _conclude(verification: _Verification, leaf: Facts) -> Verdict:
    """Judge the paths in turn; the first valid one is the answer."""
    names = [check_name(leaf, name) for name in verification.question.names]
    builder = verification.builder(verification.anchors)
    judged: list[_Judgement] = []
    for path in builder.paths(leaf):
        if not verification.afford(path):
            break
        judged.append(verification.judge(path))
        if not judged[-1].failures:
            break
    if not judged:
        steps = tuple(_step(certificate, False) for certificate in builder.furthest)
        checks = (*names, *verification.unfinished(builder))
        return Verdict(valid=False, checks=checks, path=steps, rejected=(*verification.unread, *builder.rejected))
    best = min(judged, key=lambda judgement: (not judgement.ruled, judgement.failures))
    verification.complete(best)
    for other in judged:
        if other is not best:
            builder.reject(other.path.whole, _reason(other))
    head = passed("path", "RFC 5280 section 6.1", "the path ends at an anchor")
    checks = (head, *names, *best.checks)
    return Verdict(
        valid=not any(check.outcome is Outcome.FAIL for check in checks),
        checks=checks,
        path=tuple(_step(certificate, certificate.der == best.path.anchor.der) for certificate in best.path.whole),
        rejected=(*verification.unread, *builder.rejected),
        policies=best.policies,
    )
