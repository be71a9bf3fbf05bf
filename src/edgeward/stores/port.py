"""What a store must be able to do, in the words of the domain. `tests/contract/test_stores.py` says it precisely.

A store is asynchronous because some are across a network; reads do not wait behind writes. Every write is durable when its await
returns: it survives a loss of power. Each takes the audit event of the change into the same transaction. Two writes that exclude each
other (two uses of a token that has one left) end with exactly one of them done and the other refused, under any concurrency.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

import msgspec

from edgeward.model.audit import AuditRecord, Event
from edgeward.model.authority import CertificateRecord, CertificateState, Issuer, Reason
from edgeward.model.device import Cause, Device, Node
from edgeward.model.failure import Failure
from edgeward.model.token import Token
from edgeward.stores.queue import Queue
from edgeward.stores.replicas import Replicas
from edgeward.stores.timeline import Timeline

ADOPTED = "adopted"
"""The evidence of a certificate that was issued elsewhere and taken over at first sight."""


class TokenUse(msgspec.Struct, frozen=True, kw_only=True):
    """One use of a token, as recorded: which node, from which address, for which certificate (serial, hex)."""

    key_id: str
    at: datetime
    node: str
    address: str
    serial: str


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """The conditions under which a certificate may be planned, checked in the transaction that writes its row.

    `use` spends one use of a token that has `uses` in all. `new_name_only`: the node must have no valid certificate at `at`.
    `supersedes` (a serial): that certificate has never connected and is revoked as superseded in the same transaction, before the
    condition is looked at. `renews` (a serial): the certificate that was shown as proof, which must not be revoked. `unblock` lets a
    blocked node back; without it a blocked node is refused.
    """

    at: datetime
    use: TokenUse | None = None
    uses: int | None = None
    new_name_only: bool = False
    supersedes: str | None = None
    renews: str | None = None
    unblock: bool = False


class Presented(NamedTuple):
    """What the store has to say about a certificate that was presented, in one read: its row and its device's standing."""

    issuer_id: int
    serial: str
    state: CertificateState
    profile: str
    identity: str
    not_before: datetime
    not_after: datetime
    connected: bool
    """Whether a connection with it was recorded."""
    revoked_at: datetime | None
    revocation_reason: str | None
    known: bool
    """Whether there is such a device."""
    blocked: bool
    blocked_reason: str | None
    succeeds: bool
    """Whether its first connection, which is still to come, revokes others (`Store.first_connection`)."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What the store has to say before a token is honoured, in one read: the token, whether the node is blocked, whether it has a
    valid certificate, and whether any certificate was ever issued for this key."""

    token: Token | None
    blocked_at: datetime | None
    blocked_reason: str | None
    has_certificate: bool
    key_is_known: bool


class Revoked(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a revocation list: the serial (hex), since when, and why."""

    serial: str
    at: datetime
    reason: Reason | None


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate that was signed for a planned row, and what the audit log is to say of it."""

    issuer_id: int
    serial: str
    der: bytes
    event: Event


class Unsigned(msgspec.Struct, frozen=True, kw_only=True):
    """No certificate came of a planned row: what the audit log is to say, and the error for whoever wanted one."""

    event: Event
    error: Exception


class Store(Protocol):
    """Rows and their rules. Raises `StoreUnavailable` from any method when the database cannot be reached or written."""

    @property
    def queue(self) -> Queue:
        """Messages that wait for nodes."""
        ...

    @property
    def timeline(self) -> Timeline:
        """What happened to nodes."""
        ...

    @property
    def replicas(self) -> Replicas:
        """The other replicas on this store."""
        ...

    async def close(self) -> None: ...

    # settings of the authority that outlive a start: advertised names and the like
    async def setting(self, name: str) -> str | None: ...
    async def put_setting(self, name: str, value: str, event: Event) -> None: ...
    async def swap_setting(self, name: str, value: str, expected: str | None, event: Event) -> bool:
        """Put a setting if its value is still `expected` (None: it is not there); False, and nothing recorded, when it is not."""
        ...

    # issuers
    async def issuers(self) -> Sequence[Issuer]: ...
    async def add_issuer(
        self, issuer: Issuer, record: CertificateRecord | None, event: Event, *, retire_active: bool = False
    ) -> Issuer:
        """The issuer with its number. At most one issuer is active: a second one is `AlreadyExists`, unless the present one is to be
        retired for it. A CA that we made comes with
        the record of its own certificate, whose `issuer_id` becomes its number."""
        ...

    async def activate_issuer(self, issuer: Issuer, event: Event) -> Issuer:
        """prepared -> active, and the one that was active -> retired, in one transaction. `Conflict` when it is not prepared."""
        ...

    # tokens
    async def token(self, key_id: str) -> Token | None: ...
    async def tokens(self) -> Sequence[Token]: ...
    async def tokens_made_by(self, actor: str, at: datetime) -> Sequence[Token]:
        """The tokens that `actor` (as the audit trail has it) made and that may still be used at `at`, oldest first."""

    async def standing(self, key_id: str, node: str, spki_sha256: bytes, at: datetime) -> Standing: ...
    async def token_uses(self, key_id: str) -> Sequence[TokenUse]: ...
    async def add_token(self, token: Token, event: Event, operator: str = "") -> None:
        """Add a token; for an `operator` elsewhere only while they have a valid certificate, so that one who is revoked has made no token
        that `tokens_made_by` does not know afterwards. `OperatorRefused` otherwise, `AlreadyExists` when its key id is taken."""

    async def revoke_token(self, key_id: str, at: datetime, event: Event) -> bool:
        """False when it was revoked before or does not exist; then nothing is recorded."""
        ...

    # certificates
    async def certify(
        self,
        record: CertificateRecord,
        admission: Admission | None,
        event: Event | None,
        sign: Callable[[], Signed | Unsigned],
    ) -> None:
        """`plan` and `issue` in one transaction: the planned row is written under its conditions, then `sign` is called, then the row is
        issued. For a key in this process: what it signs is nowhere else until this returns, so a crash loses the row and the
        signature together. Raises what `plan` raises, and nothing is signed or written then.

        When `sign` says `Unsigned`, the row is written as abandoned, the token is not used, and the error is raised. `sign` is called again
        when the transaction has to be run again; it gives the same then."""
        ...

    async def plan(self, record: CertificateRecord, admission: Admission | None, event: Event | None = None) -> None:
        """Write a planned row. With an admission, the device named by `record.identity` is made known and the conditions hold, or
        nothing is written and the refusal is raised: `TokenSpent` (or revoked or expired since it was read), `NodeHasCertificate`,
        `NodeBlocked`, `CertificateRefused` (what was shown is revoked), `Conflict` (what was to give way has connected or is
        revoked). `SerialCollision` when the serial exists."""
        ...

    async def issue(self, signed: Signed, at: datetime) -> None:
        """planned -> issued. `Conflict` when the row is not planned any more."""
        ...

    async def adopt(self, record: CertificateRecord, event: Event) -> None:
        """Write the issued row of a certificate that another cloud made, and make its device known. `NodeBlocked`, or
        `NodeHasCertificate`: the identity has another valid certificate, or one was adopted for it before, or this one is here already."""

    async def plan_many(self, records: Sequence[CertificateRecord]) -> None:
        """Write planned rows without conditions, all of them or none. `SerialCollision` when one of the serials exists."""
        ...

    async def issue_many(self, issued: Sequence[Signed], at: datetime) -> None:
        """planned -> issued, all of them or none. `Conflict` when one of the rows is not planned any more."""
        ...

    async def planned(self) -> Sequence[CertificateRecord]:
        """What this replica has planned and not issued; other replicas' rows are theirs (`replicas.orphans`)."""
        ...

    async def abandon(self, issuer_id: int, serial: str, at: datetime, event: Event) -> None:
        """planned -> abandoned and revoked; the use of its token is given back."""
        ...

    async def certificate(self, fingerprint: bytes) -> CertificateRecord | None: ...
    async def presented(self, fingerprint: bytes, at: datetime) -> Presented | None:
        """What is known at `at` of a certificate that was presented."""
        ...

    async def by_serial(self, serial: str) -> CertificateRecord | None: ...
    async def valid_certificates(self, identity: str, profile: str, at: datetime) -> Sequence[CertificateRecord]:
        """Issued, unrevoked, unexpired certificates of this identity under this profile, newest first; the newest twenty of them."""
        ...

    async def certificates_of_key(self, spki_sha256: bytes) -> Sequence[CertificateRecord]:
        """The certificates issued for this public key, those reported as compromised first, then the newest; twenty of them."""
        ...

    async def known_keys(self, spki_sha256: Sequence[bytes]) -> frozenset[bytes]:
        """Those of these public keys for which a certificate was issued."""
        ...

    async def certificates_under(self, profile: str) -> Sequence[CertificateRecord]:
        """The certificates that were issued under a profile, by identity, the newest first; for profiles of which there are few."""
        ...

    async def revoke(
        self, serials: Sequence[str], at: datetime, reason: Reason, event: Event
    ) -> Sequence[CertificateRecord]:
        """Revoke by serial; the records that this call revoked. Those already revoked stay as they are and are not returned, but for
        one that turns out to be `keyCompromise`: its reason changes, its moment does not. When none is left, nothing is recorded."""
        ...

    async def revoked(self, issuer_id: int, since: datetime) -> Sequence[Revoked]:
        """What is revoked of this issuer's certificates, those that had ended at `since` left out; by time, then serial."""
        ...

    async def block(self, node: str, at: datetime, reason: Reason, event: Event) -> Sequence[CertificateRecord]:
        """Block a device and revoke all its unexpired device certificates in one transaction; those are returned. Tokens that were
        made to let it back are revoked as well: what is decided last counts. Messages that wait for it become `refused`."""
        ...

    async def first_connection(
        self, record: CertificateRecord, at: datetime, event: Event
    ) -> Sequence[CertificateRecord] | None:
        """Note that a certificate has connected for the first time; None, and nothing is noted, when it had before or is revoked.

        Every other valid device certificate of its node that was issued no later, and the one it replaces, is revoked as superseded
        and returned, but never one that replaces it; `event` is recorded if there is one."""
        ...

    # devices and presence
    async def device(self, name: str) -> Device | None: ...
    async def nodes(self) -> Sequence[Node]:
        """Every device with its newest issued device certificate, by name."""
        ...

    async def seen(self, moments: Sequence[tuple[str, datetime]]) -> None: ...
    async def all_offline(self, at: datetime, cause: Cause) -> None:
        """At start-up: whoever is recorded as online at this replica is not."""
        ...

    # failures
    async def add_failures(self, failures: Sequence[tuple[Failure, str]], oldest: datetime) -> None:
        """Count failures, each with the network that its address belongs to, and forget those before `oldest` and those beyond the
        limits of `sql_failures`."""
        ...

    async def failures(self, *, node: str, address: str, since: datetime | None, limit: int) -> Sequence[Failure]:
        """Failures, the newest first: of a node (its name, or nameless ones from where it enrolled or connected), of an address, or
        all when both are empty."""
        ...

    async def nodes_at(self, address: str) -> Sequence[str]:
        """The nodes that connected from this address last, the latest first; twenty of them."""
        ...

    # audit
    async def note(self, event: Event) -> None:
        """Record something that changed nothing, such as a refusal."""
        ...

    async def audit(self, after: int = 0, limit: int = 1000) -> Sequence[AuditRecord]: ...
