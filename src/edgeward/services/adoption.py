"""Taking over the nodes of a KubeEdge cloud: a certificate of its CA without a row here is adopted at first sight, until a date.

The rules are in `pki.kubeedge`; what only the store can say is decided in the transaction that writes the row: the name is not
blocked, has no other valid certificate, and no certificate was adopted for it before. The next renewal replaces an adopted certificate
like any other. Old edges, whose certificates name nobody, are let in under the name they claim where the operator said so.
"""

import hashlib
import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import msgspec
from cryptography import x509

from edgeward.errors import NodeHasCertificate, NotAdopted, UsageError, WrongIdentity
from edgeward.model.audit import Event
from edgeward.model.authority import CertificateRecord, CertificateState, Issuer, Origin, Reason
from edgeward.pki import kubeedge, parse
from edgeward.stores.port import ADOPTED, Store

_log = logging.getLogger(__name__)

_SETTING = "kubeedge-adoption"
DEVICE = "device"


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """Until when certificates are adopted (None: not at all), and whether edges before v1.16 are let in under the name they claim."""

    until: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    legacy: bool = False


class Adoption:
    """Adopts certificates of imported CAs. The store is asked each time, because another process may have changed the terms: whoever comes
    here comes once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._terms = Terms()
        self._imported: Sequence[tuple[Issuer, x509.Certificate]] = ()

    @property
    def terms(self) -> Terms:
        """What held when the store was last asked."""
        return self._terms

    async def lets_old_edges_in(self) -> bool:
        """Whether edges before v1.16 are let in."""
        await self.load()
        return self._terms.legacy

    async def load(self) -> None:
        """Read the terms and the imported CAs from the store: at start-up, and when a CA was imported."""
        text = await self._store.setting(_SETTING)
        self._terms = Terms() if not text else msgspec.json.decode(text, type=Terms)
        self._imported = [
            (issuer, parse.certificate(issuer.certificate))
            for issuer in await self._store.issuers()
            if issuer.origin is Origin.IMPORTED
        ]

    async def allow(self, terms: Terms, *, actor: str, now: datetime) -> None:
        """Adopt on these terms from now on. Raises `UsageError` for an adoption where no CA was imported; unchanged terms write nothing."""
        await self.load()
        if terms == self._terms:
            return
        if terms.until is not None and not self._imported:
            raise UsageError(
                problem="no CA was imported, so there is nothing to adopt: give KubeEdge's rootCA or casecret"
            )
        facts: dict[str, str | int | list[str] | None] = {
            "until": None if terms.until is None else terms.until.isoformat(),
            "legacy": int(terms.legacy),
        }
        event = Event(at=now, actor=actor, action="kubeedge-adoption.changed", object="authority", facts=facts)
        await self._store.put_setting(_SETTING, msgspec.json.encode(terms).decode(), event)
        self._terms = terms

    async def adopt(self, der: bytes, claimed: str, address: str, now: datetime) -> CertificateRecord | None:
        """The new row of a certificate whose key TLS has proved, shown by a peer that says it is node `claimed`.

        None when no imported CA issued it. Raises `NotAdopted` with every rule that it breaks, or `WrongIdentity`.
        """
        await self.load()
        found = self._issuer_of(der)
        if found is None:
            return None
        issuer, ca = found
        judged = kubeedge.judge(der, ca, now)
        try:
            record = self._record(judged, der, issuer, claimed, now)
            return await self._admit(record, judged, address)
        except NotAdopted as error:
            _log.warning("a KubeEdge certificate for %s from %s is not adopted: %s", claimed, address, error)
            raise

    def _issuer_of(self, der: bytes) -> tuple[Issuer, x509.Certificate] | None:
        if not self._imported:
            return None
        parsed = parse.certificate(der)
        return next((one for one in self._imported if kubeedge.issued_by(parsed, one[1])), None)

    def _record(
        self, judged: kubeedge.Judged, der: bytes, issuer: Issuer, claimed: str, now: datetime
    ) -> CertificateRecord:
        terms = self._terms
        node = judged.node or claimed
        if terms.until is None or now >= terms.until:
            ended = (
                "is not adopted here" if terms.until is None else f"was to be adopted until {terms.until.isoformat()}"
            )
            raise NotAdopted(node=node, why=f"KubeEdge issued it before its CA came here, and it {ended}")
        broken = [words for id_, words in judged.problems if not (terms.legacy and id_ == "legacy-identity")]
        if broken:
            raise NotAdopted(node=node, why="; ".join(broken))
        if node != claimed:
            raise WrongIdentity(proven=node, claimed=claimed)
        return CertificateRecord(
            issuer_id=issuer.id,
            serial=format(judged.serial, "x"),
            state=CertificateState.ISSUED,
            profile=DEVICE,
            identity=node,
            spki_sha256=hashlib.sha256(judged.spki).digest(),
            evidence=ADOPTED,
            token=None,
            replaces=None,
            not_before=judged.not_before,
            not_after=judged.not_after,
            planned_at=now,
            der=der,
            fingerprint=judged.fingerprint,
            issued_at=now,
        )

    async def _admit(self, record: CertificateRecord, judged: kubeedge.Judged, address: str) -> CertificateRecord:
        for other in await self._store.certificates_of_key(record.spki_sha256):
            if other.revocation_reason is Reason.KEY_COMPROMISE:
                raise NotAdopted(node=record.identity, why="its key was reported as compromised")
        event = Event(
            at=record.planned_at,
            actor=f"node:{record.identity}",
            action="certificate.adopted",
            object=f"certificate:{record.serial}",
            facts={
                "identity": record.identity,
                "address": address,
                "fingerprint": judged.fingerprint.hex(),
                "subject": judged.subject,
                "not_after": record.not_after.isoformat(),
                "legacy": int(judged.legacy),
            },
        )
        try:
            await self._store.adopt(record, event)
        except NodeHasCertificate as error:
            present = await self._store.certificate(judged.fingerprint)
            if present is not None:  # another connection of this node was quicker
                return present
            raise NotAdopted(
                node=record.identity,
                why=f"node {record.identity} has, or had, another certificate here, and one for each name is adopted: "
                "if this is the device that you mean, somebody else was quicker",
            ) from error
        _log.info("adopted certificate %s of node %s from %s", record.serial, record.identity, address)
        return record


def judge(terms: Terms, now: datetime) -> None:
    """Raise `UsageError` for a date that is past."""
    if terms.until is not None and terms.until <= now:
        raise UsageError(problem=f"--adopt-until {terms.until.isoformat()} is in the past; `off` ends it")
