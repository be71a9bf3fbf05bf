"""The road to many certificates at once: the steps of `services.issuance`, each taken by a batch and in the same order.

    decide ─▶ rows "planned", one transaction ─▶ sign ─▶ conform ─▶ rows "issued" + audit, one transaction ─▶ the certificates leave

The rows belong to the process that has the store; deciding, signing and conforming need only the CA's key and may be done in processes
beside it. What crosses between the two is a `Decision`, and the DER that was signed.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

from edgeward.model.audit import Event
from edgeward.model.authority import CertificateRecord, CertificateState
from edgeward.pki import names
from edgeward.pki.conform import conform
from edgeward.pki.issue import Plan, sign
from edgeward.services.issuance import facts_of


class Decision(NamedTuple):
    """A plan as far as rows, records and reports need it. `names`: every alternative name, as it is shown."""

    serial: str
    identity: str
    names: tuple[str, ...]
    spki_sha256: bytes
    not_before: datetime
    not_after: datetime
    dropped: tuple[str, ...]

    @staticmethod
    def of(plan: Plan, granted: Sequence[x509.GeneralName]) -> "Decision":
        """The decision that `plan` is, with the alternative names that it gives."""
        return Decision(
            serial=format(plan.serial, "x"),
            identity=plan.identity,
            names=tuple([names.show(name) for name in granted]),
            spki_sha256=hashlib.sha256(plan.spki).digest(),
            not_before=plan.not_before,
            not_after=plan.not_after,
            dropped=plan.dropped,
        )

    def record(self, issuer_id: int, profile: str, evidence: str, now: datetime) -> CertificateRecord:
        """Its row, planned."""
        return CertificateRecord(
            issuer_id=issuer_id,
            serial=self.serial,
            state=CertificateState.PLANNED,
            profile=profile,
            identity=self.identity,
            spki_sha256=self.spki_sha256,
            evidence=evidence,
            token=None,
            replaces=None,
            not_before=self.not_before,
            not_after=self.not_after,
            planned_at=now,
        )

    def event(self, profile: str, actor: str, evidence: str, now: datetime) -> Event:
        """What the audit log says once it is signed."""
        return Event(
            at=now,
            actor=actor,
            action="certificate.issued",
            object=f"certificate:{self.serial}",
            facts=facts_of(profile, self.identity, evidence, self.not_after, self.dropped),
        )


def signed(plan: Plan, key: CertificateIssuerPrivateKeyTypes) -> bytes:
    """The certificate (DER) of a plan whose row is durable, read back and compared with the plan."""
    der = sign(plan, key)
    conform(der, plan)
    return der
