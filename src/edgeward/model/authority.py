"""The authority: issuers with a life of their own, and certificates as the store remembers them."""

import hashlib
from datetime import datetime
from enum import StrEnum

import msgspec


class IssuerState(StrEnum):
    """prepared (known, not yet signing) -> active (signs) -> retired (trusted until it expires, signs no more)."""

    PREPARED = "prepared"
    ACTIVE = "active"
    RETIRED = "retired"


class Origin(StrEnum):
    """Where an issuer came from: made here, made to sign offline, or brought along from a KubeEdge cloud or a file."""

    CREATED = "created"
    OFFLINE = "offline"
    IMPORTED = "imported"


class KeyRef(msgspec.Struct, frozen=True, kw_only=True):
    """Where a private key is: the adapter (`file`, `memory`, `pkcs11`) and the name it knows the key by."""

    store: str
    name: str

    def __str__(self) -> str:
        return f"{self.store}:{self.name}"

    @staticmethod
    def parse(text: str) -> "KeyRef":
        """The inverse of `str()`."""
        store, _, name = text.partition(":")
        return KeyRef(store=store, name=name)


class Issuer(msgspec.Struct, frozen=True, kw_only=True):
    """A CA certificate (DER) with its key, in one of three states."""

    id: int
    certificate: bytes
    key: KeyRef
    state: IssuerState
    origin: Origin
    created_at: datetime

    @property
    def pin(self) -> str:
        """SHA-256 of the certificate's DER in lower-case hex: the first part of every join token."""
        return hashlib.sha256(self.certificate).hexdigest()


class CertificateState(StrEnum):
    """planned (row written, not yet signed) -> issued | abandoned (a crash came in between; its serial is revoked)."""

    PLANNED = "planned"
    ISSUED = "issued"
    ABANDONED = "abandoned"


class Reason(StrEnum):
    """Why a certificate was revoked: the reasons of RFC 5280 section 5.3.1 that an end entity can have."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "keyCompromise"
    CA_COMPROMISE = "cACompromise"
    AFFILIATION_CHANGED = "affiliationChanged"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessationOfOperation"
    CERTIFICATE_HOLD = "certificateHold"
    PRIVILEGE_WITHDRAWN = "privilegeWithdrawn"
    AA_COMPROMISE = "aACompromise"


class CertificateRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the store knows of one certificate. `serial` is lower-case hex; `der` and `fingerprint` are set once it is issued."""

    issuer_id: int
    serial: str
    state: CertificateState
    profile: str
    identity: str
    spki_sha256: bytes
    evidence: str
    token: str | None
    replaces: str | None
    not_before: datetime
    not_after: datetime
    planned_at: datetime
    der: bytes | None = None
    fingerprint: bytes | None = None
    issued_at: datetime | None = None
    connected_at: datetime | None = None
    revoked_at: datetime | None = None
    revocation_reason: Reason | None = None

    def valid_at(self, now: datetime) -> bool:
        """Issued, not revoked and inside its validity period."""
        return (
            self.state is CertificateState.ISSUED
            and self.revoked_at is None
            and self.not_before <= now <= self.not_after
        )
