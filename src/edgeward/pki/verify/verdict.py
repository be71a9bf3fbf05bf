"""The answer of a verification: every check with its outcome, the path it took and the paths it rejected."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from edgeward.errors import printable


class Outcome(StrEnum):
    """`PASS` and `FAIL` decide; `SKIP` says what was not looked at, and why."""

    PASS = "pass"  # noqa: S105 - an outcome, not a password
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One rule applied to one certificate, or to the path as a whole.

    `id` is stable and for programs. `position` counts from the leaf (0) towards the anchor; None means the whole path.
    `paragraph` names the standard, `words` is a sentence for people, `remedy` what to do about a failure, where that is
    known.
    """

    id: str
    outcome: Outcome
    paragraph: str
    words: str
    position: int | None = None
    certificate: str = ""
    remedy: str = ""

    def as_json(self) -> dict[str, Any]:
        """The check as JSON values. Fields are only ever added."""
        return {
            "id": self.id,
            "outcome": self.outcome.value,
            "position": self.position,
            "certificate": self.certificate or None,
            "paragraph": self.paragraph,
            "words": self.words,
            "remedy": self.remedy or None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One certificate of the path, for drawing it. Times are in ISO 8601, UTC."""

    subject: str
    issuer: str
    serial: str
    not_before: str
    not_after: str
    sha256: str
    anchor: bool

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A certificate, CRL, response or path that was looked at and not used. `path` names its certificates from the leaf
    on.
    """

    path: tuple[str, ...]
    reason: str

    def as_json(self) -> dict[str, Any]:
        return {"path": list(self.path), "reason": self.reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The answer. `path` runs from the leaf to the anchor and is incomplete when there is no anchor to reach.

    `policies` are the policies for which the path is valid (RFC 5280 section 6.1.6, the user-constrained policy set).
    """

    valid: bool
    checks: tuple[Check, ...]
    path: tuple[Step, ...]
    rejected: tuple[Rejected, ...] = ()
    policies: tuple[str, ...] = ()

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that failed, in the order in which they were made."""
        return tuple(check for check in self.checks if check.outcome is Outcome.FAIL)

    def as_json(self) -> dict[str, Any]:
        """The verdict as JSON values. Fields are only ever added."""
        return {
            "checks": [check.as_json() for check in self.checks],
            "path": [step.as_json() for step in self.path],
            "rejected": [rejected.as_json() for rejected in self.rejected],
            "policies": list(self.policies),
        }


def passed(check_id: str, paragraph: str, words: str, position: int | None = None, certificate: str = "") -> Check:
    """A check that passed."""
    return Check(
        id=check_id,
        outcome=Outcome.PASS,
        paragraph=paragraph,
        words=printable(words, 400),
        position=position,
        certificate=printable(certificate),
    )


def failed(
    check_id: str, paragraph: str, words: str, position: int | None = None, certificate: str = "", remedy: str = ""
) -> Check:
    """A check that failed. `words` may quote the certificate: it is made printable here."""
    return Check(
        id=check_id,
        outcome=Outcome.FAIL,
        paragraph=paragraph,
        words=printable(words, 400),
        position=position,
        certificate=printable(certificate),
        remedy=remedy,
    )


def skipped(check_id: str, paragraph: str, words: str) -> Check:
    """A check that was not made, and why."""
    return Check(id=check_id, outcome=Outcome.SKIP, paragraph=paragraph, words=printable(words, 400))
