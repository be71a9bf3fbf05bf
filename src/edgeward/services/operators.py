"""Operators who are not on this machine: their certificates, and who of them may come in.

1. An operator's certificate is made here, under the profile `operator`, on the word of whoever can open the administrative socket; never on
   that of another operator's certificate, so that a stolen one makes no others.
2. The row decides on every request, by the SHA-256 of the certificate: revoked is revoked at once.
3. A device's certificate opens nothing here, whatever its text says.
"""

import hashlib
import re
from datetime import datetime

from edgeward.errors import BadName, OperatorRefused, PolicyRefused
from edgeward.model.authority import CertificateRecord, CertificateState
from edgeward.pki import csr
from edgeward.pki.issue import Grant
from edgeward.services.issuance import Issuance, Issued, Order
from edgeward.stores.port import Store

PROFILE = "operator"

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,51}")


RESERVED = frozenset({"socket", "up", "sighup"})
"""Who is on the machine itself, in the audit log; nobody elsewhere may pass for them."""


def operator_name(text: str) -> str:
    """`text` as an operator's name. Raises `BadName`."""
    if NAME.fullmatch(text) is None:
        raise BadName(
            kind="operator's name", value=text, why="it has 1 to 52 letters, digits, dots, hyphens and underscores"
        )
    if text in RESERVED:
        raise BadName(kind="operator's name", value=text, why="the audit log calls something else so")
    return text


class Operators:
    """Makes operators' certificates and lets their holders in."""

    def __init__(self, store: Store, issuance: Issuance) -> None:
        self._store = store
        self._issuance = issuance

    async def new(self, name: str, request: bytes, *, actor: str, now: datetime) -> Issued:
        """A certificate for the operator `name`, for the key of `request` (a CSR, DER). Raises `BadName`, `InputError`, `PolicyRefused`."""
        name = operator_name(name)
        requested = csr.requested(request)
        spki = hashlib.sha256(requested.spki).digest()
        if await self._store.certificates_of_key(spki):
            raise PolicyRefused(
                ("the key has a certificate already; an operator's key is for one purpose and one person",)
            )
        return await self._issuance.issue(
            Order(
                profile=PROFILE,
                requested=requested,
                grant=Grant(identity=name, strict=False),
                actor=actor,
                evidence=actor,
                at=now,
            )
        )

    async def list(self, now: datetime) -> list[CertificateRecord]:
        """The certificates of operators that are valid now, or were revoked before their end."""
        return [one for one in await self._store.certificates_under(PROFILE) if one.not_after >= now]

    async def admit(self, certificate: bytes | None, now: datetime) -> CertificateRecord:
        """The operator whose certificate (DER) TLS has proved. Raises `OperatorRefused`."""
        if certificate is None:
            raise OperatorRefused(why="none was presented")
        record = await self._store.certificate(hashlib.sha256(certificate).digest())
        if record is None or record.profile != PROFILE:
            raise OperatorRefused(why="it is not an operator's certificate that was issued here")
        if record.revoked_at is not None:
            raise OperatorRefused(why=f"it was revoked at {record.revoked_at.isoformat()}")
        if record.state is not CertificateState.ISSUED or not record.not_before <= now <= record.not_after:
            raise OperatorRefused(why="it is not valid now")
        return record
