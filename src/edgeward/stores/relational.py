"""The store over any engine that speaks the shared SQL: the port's methods as reads and units of writing."""

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from edgeward.errors import (
    AlreadyExists,
    CertificateRefused,
    Conflict,
    EdgewardError,
    InternalError,
    NodeBlocked,
    NodeHasCertificate,
    OperatorRefused,
    SerialCollision,
    TokenSpent,
)
from edgeward.model.audit import AuditRecord, Event
from edgeward.model.authority import CertificateRecord, Issuer, IssuerState, Reason
from edgeward.model.device import Cause, Device, Node
from edgeward.model.failure import Failure
from edgeward.model.token import Token
from edgeward.stores import rows, sql, sql_failures, sql_queue
from edgeward.stores.port import Admission, Presented, Revoked, Signed, Standing, TokenUse, Unsigned
from edgeward.stores.relational_queue import RelationalQueue
from edgeward.stores.relational_replicas import RelationalReplicas
from edgeward.stores.relational_timeline import RelationalTimeline
from edgeward.stores.rows import Reader, Row, milliseconds
from edgeward.stores.writer import Duplicate, Engine, Sequel, Step, Unit, Writer

TOKENS = 1000
"""Tokens that are kept in memory."""


class RelationalStore:
    """`stores.port.Store` over a reader and a writer of one database."""

    def __init__(self, reader: Reader, writer: Writer, replica: str = "") -> None:
        self._reader = reader
        self._writer = writer
        self._queue = RelationalQueue(reader, writer)
        self._timeline = RelationalTimeline(reader, writer, replica)
        self._replicas = RelationalReplicas(reader, writer, replica)
        self._tokens: dict[str, Token] = {}

    @property
    def queue(self) -> RelationalQueue:
        """Messages that wait for nodes."""
        return self._queue

    @property
    def timeline(self) -> RelationalTimeline:
        """What happened to nodes."""
        return self._timeline

    @property
    def replicas(self) -> RelationalReplicas:
        """The other replicas on this store."""
        return self._replicas

    async def close(self) -> None:
        """Finish the queued writes, then let go of the database."""
        await self._writer.close()
        await self._reader.close()

    async def _one(self, statement: str, **row: Any) -> Row | None:
        return next(iter(await self._reader.query(statement, row)), None)

    async def _work(self, work: Callable[[Engine], Any], *events: Event) -> Any:
        return await self._writer.submit(Unit(work=work, events=events))

    # settings

    async def setting(self, name: str) -> str | None:
        """A setting of the authority, None when it was never put."""
        row = await self._one(sql.SETTING, name=name)
        return None if row is None else row[0]

    async def put_setting(self, name: str, value: str, event: Event) -> None:
        """Put a setting, whether or not it was there."""
        await self._writer.submit(Unit(steps=(Step(sql.PUT_SETTING, {"name": name, "value": value}),), events=(event,)))

    async def swap_setting(self, name: str, value: str, expected: str | None, event: Event) -> bool:
        """Put a setting if it is still what was expected (None: not there)."""

        def overtaken(_step: Step) -> EdgewardError:
            return Conflict(what=f"the setting {name} was changed by another replica")

        row = {"name": name, "value": value, "expected": expected}
        statement = sql.NEW_SETTING if expected is None else sql.SWAP_SETTING
        try:
            await self._writer.submit(Unit(steps=(Step(statement, row),), refused=overtaken, events=(event,)))
        except Conflict:
            return False
        return True

    # issuers

    async def issuers(self) -> Sequence[Issuer]:
        """Every issuer, oldest first."""
        return [rows.issuer(row) for row in await self._reader.query(sql.ISSUERS, {})]

    async def add_issuer(
        self, issuer: Issuer, record: CertificateRecord | None, event: Event, *, retire_active: bool = False
    ) -> Issuer:
        """Add an issuer, with the record of its own certificate where there is one."""

        def work(engine: Engine) -> Issuer:
            row = {
                "certificate": issuer.certificate,
                "key": str(issuer.key),
                "state": issuer.state,
                "origin": issuer.origin,
                "created_at": milliseconds(issuer.created_at),
            }
            try:
                if retire_active:
                    engine.many(sql.RETIRE_ACTIVE, [{}])
                number = engine.query(sql.ADD_ISSUER, row)[0][0]
                if record is not None:
                    engine.many(
                        sql.ADD_ISSUED, [rows.certificate_row(msgspec.structs.replace(record, issuer_id=number))]
                    )
            except Duplicate as error:
                raise AlreadyExists(what="an active", name="issuer") from error
            return msgspec.structs.replace(issuer, id=number)

        added: Issuer = await self._work(work, event)
        return added

    async def activate_issuer(self, issuer: Issuer, event: Event) -> Issuer:
        """prepared -> active, and active -> retired."""

        def work(engine: Engine) -> bool:
            engine.many(sql.RETIRE_ACTIVE, [{}])
            if engine.many(sql.ACTIVATE, [{"id": issuer.id}]) != 1:
                raise Conflict(what=f"issuer {issuer.id} is not prepared any more")
            return True

        await self._work(work, event)
        return msgspec.structs.replace(issuer, state=IssuerState.ACTIVE)

    # tokens

    async def token(self, key_id: str) -> Token | None:
        """The token with this key id."""
        row = await self._one(sql.TOKEN, key_id=key_id)
        return None if row is None else rows.token(row)

    async def tokens(self) -> Sequence[Token]:
        """Every token, oldest first."""
        return [rows.token(row) for row in await self._reader.query(sql.TOKENS, {})]

    async def tokens_made_by(self, actor: str, at: datetime) -> Sequence[Token]:
        """The tokens that `actor` made and that may still be used at `at`, oldest first. Reads the whole audit trail."""
        row = {"actor": actor, "at": milliseconds(at)}
        return [rows.token(one) for one in await self._reader.query(sql.TOKENS_MADE_BY, row)]

    async def standing(self, key_id: str, node: str, spki_sha256: bytes, at: datetime) -> Standing:
        """What there is to know before a token is honoured."""
        (row,) = await self._reader.query(sql.STANDING, (node, milliseconds(at), spki_sha256, key_id))
        return rows.standing(row, None if row[4] is None else await self._known_token(key_id))

    async def _known_token(self, key_id: str) -> Token | None:
        """A token that is there, as it was when it was first asked for: what it says never changes, but for its uses and its revocation,
        and many enrol with one."""
        known = self._tokens.get(key_id)
        if known is None:
            known = await self.token(key_id)
            if known is not None:
                if len(self._tokens) >= TOKENS:
                    self._tokens.clear()
                self._tokens[key_id] = known
        return known

    async def token_uses(self, key_id: str) -> Sequence[TokenUse]:
        """Every use of a token, oldest first."""
        return [rows.token_use(row) for row in await self._reader.query(sql.TOKEN_USES, {"key_id": key_id})]

    async def add_token(self, token: Token, event: Event, operator: str = "") -> None:
        """Add a token. `AlreadyExists` when its key id is taken, `OperatorRefused` when its maker has no valid certificate any more."""

        def refused(_step: Step) -> EdgewardError:
            if operator:
                return OperatorRefused(why="it was revoked just now")
            return AlreadyExists(what="token", name=token.key_id)

        row = rows.token_row(token) | {"operator": operator, "at": milliseconds(token.created_at)}
        await self._writer.submit(Unit(steps=(Step(sql.ADD_TOKEN, row),), refused=refused, events=(event,)))

    async def revoke_token(self, key_id: str, at: datetime, event: Event) -> bool:
        """Take a token back; False when there is nothing to take back."""
        row = {"key_id": key_id, "at": milliseconds(at)}
        return bool(await self._work(lambda engine: engine.many(sql.REVOKE_TOKEN, [row]), event))

    # certificates

    async def certify(
        self,
        record: CertificateRecord,
        admission: Admission | None,
        event: Event | None,
        sign: Callable[[], Signed | Unsigned],
    ) -> None:
        """Write a planned row under its conditions, have it signed, and write it as issued, or as abandoned."""

        def then() -> Sequel:
            signed = sign()
            if isinstance(signed, Signed):
                return Sequel(steps=(_issue(signed, record.planned_at),), events=(signed.event,))
            row = {"issuer_id": record.issuer_id, "serial": record.serial, "at": milliseconds(record.planned_at)}
            steps = [Step(sql.ABANDON, row)]
            if admission is not None and admission.use is not None:
                steps.append(Step(sql.GIVE_BACK, {"key_id": admission.use.key_id}))
            return Sequel(steps=steps, events=(signed.event,), error=signed.error)

        await self._writer.submit(self._plan(record, admission, event, then))

    async def plan(self, record: CertificateRecord, admission: Admission | None, event: Event | None = None) -> None:
        """Write a planned row under its conditions, or nothing."""
        await self._writer.submit(self._plan(record, admission, event))

    def _plan(
        self,
        record: CertificateRecord,
        admission: Admission | None,
        event: Event | None,
        then: Callable[[], Sequel] | None = None,
    ) -> Unit:
        new_name_only = admission is not None and admission.new_name_only
        steps = [] if admission is None else _admit(record, admission)
        steps.append(Step(sql.PLAN, rows.planned_row(record, self._replicas.name, new_name_only=new_name_only)))
        if admission is not None and admission.use is not None:
            use = admission.use
            row = (use.key_id, milliseconds(use.at), use.node, use.address, use.serial)
            steps.append(Step(sql.RECORD_USE, row))
        return Unit(
            steps=steps,
            refused=lambda step: _refusal(step, record, admission),
            events=() if event is None else (event,),
            then=then,
        )

    async def issue(self, signed: Signed, at: datetime) -> None:
        """planned -> issued."""
        await self._writer.submit(Unit(steps=(_issue(signed, at),), refused=_overtaken, events=(signed.event,)))

    async def adopt(self, record: CertificateRecord, event: Event) -> None:
        """Write the issued row of a certificate that another cloud made, under its conditions, or nothing."""
        admission = Admission(at=record.planned_at)
        steps = [*_admit(record, admission), Step(sql.ADOPT, rows.certificate_row(record))]
        await self._writer.submit(
            Unit(steps=steps, refused=lambda step: _refusal(step, record, admission), events=(event,))
        )

    async def plan_many(self, records: Sequence[CertificateRecord]) -> None:
        """Write planned rows without conditions, all or none."""

        def taken(_step: Step) -> EdgewardError:
            return SerialCollision(serial=f"one of {len(records)}")

        replica = self._replicas.name
        steps = [Step(sql.PLAN, rows.planned_row(one, replica, new_name_only=False)) for one in records]
        await self._writer.submit(Unit(steps=steps, refused=taken))

    async def issue_many(self, issued: Sequence[Signed], at: datetime) -> None:
        """planned -> issued, all or none."""
        steps = [_issue(one, at) for one in issued]
        await self._writer.submit(Unit(steps=steps, refused=_overtaken, events=[one.event for one in issued]))

    async def planned(self) -> Sequence[CertificateRecord]:
        """Rows of this replica that were planned and never signed, or signed and never recorded as issued."""
        return [
            rows.certificate(row) for row in await self._reader.query(sql.PLANNED, {"replica": self._replicas.name})
        ]

    async def abandon(self, issuer_id: int, serial: str, at: datetime, event: Event) -> None:
        """planned -> abandoned, revoked, the token's use given back."""

        def work(engine: Engine) -> bool:
            row = {"issuer_id": issuer_id, "serial": serial, "at": milliseconds(at)}
            if engine.many(sql.ABANDON, [row]) != 1:
                raise Conflict(what=f"certificate {serial} is not planned any more")
            token = engine.query(sql.ABANDONED_TOKEN, {"issuer_id": issuer_id, "serial": serial})[0][0]
            if token is not None:
                engine.many(sql.GIVE_BACK, [{"key_id": token}])
            return True

        await self._work(work, event)

    async def certificate(self, fingerprint: bytes) -> CertificateRecord | None:
        """The certificate whose DER has this SHA-256."""
        row = await self._one(sql.BY_FINGERPRINT, fingerprint=fingerprint)
        return None if row is None else rows.certificate(row)

    async def presented(self, fingerprint: bytes, at: datetime) -> Presented | None:
        """What is known of a certificate that was presented."""
        row = await self._one(sql.PRESENTED, fingerprint=fingerprint, at=milliseconds(at))
        return None if row is None else rows.presented(row)

    async def by_serial(self, serial: str) -> CertificateRecord | None:
        """The certificate with this serial (lower-case hex)."""
        row = await self._one(sql.BY_SERIAL, serial=serial)
        return None if row is None else rows.certificate(row)

    async def valid_certificates(self, identity: str, profile: str, at: datetime) -> Sequence[CertificateRecord]:
        """Issued, unrevoked, unexpired certificates of an identity, the newest ones."""
        row = {"identity": identity, "profile": profile, "at": milliseconds(at)}
        return [rows.certificate(found) for found in await self._reader.query(sql.VALID_CERTIFICATES, row)]

    async def certificates_of_key(self, spki_sha256: bytes) -> Sequence[CertificateRecord]:
        """The certificates issued for this public key: the compromised ones, then the newest."""
        return [rows.certificate(row) for row in await self._reader.query(sql.OF_KEY, {"spki_sha256": spki_sha256})]

    async def known_keys(self, spki_sha256: Sequence[bytes]) -> frozenset[bytes]:
        """Those of these public keys for which a certificate was issued."""
        found: set[bytes] = set()
        for start in range(0, len(spki_sha256), sql.KEYS):
            some = spki_sha256[start : start + sql.KEYS]
            row = {f"k{place}": some[place % len(some)] for place in range(sql.KEYS)}
            found.update(bytes(key) for (key,) in await self._reader.query(sql.KNOWN_KEYS, row))
        return frozenset(found)

    async def certificates_under(self, profile: str) -> Sequence[CertificateRecord]:
        """The certificates issued under a profile, by identity, the newest first."""
        return [rows.certificate(row) for row in await self._reader.query(sql.UNDER_PROFILE, {"profile": profile})]

    async def revoke(
        self, serials: Sequence[str], at: datetime, reason: Reason, event: Event
    ) -> Sequence[CertificateRecord]:
        """Revoke by serial; what this call revoked."""

        def work(engine: Engine) -> list[CertificateRecord]:
            found = [
                row
                for serial in serials
                for row in engine.query(sql.REVOKE, {"serial": serial, "at": milliseconds(at), "reason": reason})
            ]
            return [rows.certificate(row) for row in found]

        revoked: list[CertificateRecord] = await self._work(work, event)
        return revoked

    async def revoked(self, issuer_id: int, since: datetime) -> Sequence[Revoked]:
        """What stands on a revocation list."""
        row = {"issuer_id": issuer_id, "since": milliseconds(since)}
        return [rows.revoked(found) for found in await self._reader.query(sql.REVOKED, row)]

    async def block(self, node: str, at: datetime, reason: Reason, event: Event) -> Sequence[CertificateRecord]:
        """Block a device and revoke its certificates; those revoked now."""

        def work(engine: Engine) -> tuple[list[Row]] | None:
            row = {"name": node, "at": milliseconds(at), "reason": reason}
            changed = engine.many(sql.BLOCK, [row]) + engine.many(sql.REVOKE_WAYS_BACK, [row])
            revoked = engine.query(sql.REVOKE_NODE, row)
            engine.many(sql_queue.REFUSE, [row])
            return (revoked,) if changed or revoked else None

        result = await self._work(work, event)
        return [] if result is None else [rows.certificate(row) for row in result[0]]

    async def first_connection(
        self, record: CertificateRecord, at: datetime, event: Event
    ) -> Sequence[CertificateRecord] | None:
        """Note the first connection and revoke the node's older certificates."""
        row = rows.certificate_row(record) | {"at": milliseconds(at)}

        def work(engine: Engine) -> list[Row] | None:
            return engine.query(sql.REVOKE_OLDER, row) if engine.many(sql.FIRST_CONNECTION, [row]) == 1 else None

        gone = await self._work(work, event)
        return None if gone is None else [rows.certificate(row) for row in gone]

    # devices and presence

    async def device(self, name: str) -> Device | None:
        """The device of this name."""
        row = await self._one(sql.DEVICE, name=name)
        return None if row is None else rows.device(row)

    async def nodes(self) -> Sequence[Node]:
        """Every device with its newest certificate, by name."""
        return [rows.node(row) for row in await self._reader.query(sql.NODES, {})]

    async def seen(self, moments: Sequence[tuple[str, datetime]]) -> None:
        """Devices that gave a sign of life, and when."""
        found = [{"name": name, "at": milliseconds(at)} for name, at in moments]
        await self._work(lambda engine: engine.many(sql.SEEN, found) if found else 0)

    async def all_offline(self, at: datetime, cause: Cause) -> None:
        """Nobody is online: at start-up."""
        row = {"at": milliseconds(at), "cause": cause, "replica": self._replicas.name}
        await self._writer.submit(Unit(steps=(Step(sql.ALL_OFFLINE, row),)))

    # failures

    async def add_failures(self, failures: Sequence[tuple[Failure, str]], oldest: datetime) -> None:
        """Count failures, and forget what is beyond the limits."""
        written = [rows.failure_row(failure) | {"network": network} for failure, network in failures]
        networks = [{"network": network} for network in sorted({network for _, network in failures})]

        def work(engine: Engine) -> bool:
            engine.many(sql_failures.ADD, written)
            engine.many(sql_failures.FORGET_OF_NETWORK, networks)
            engine.many(sql_failures.FORGET_OLD, [{"oldest": milliseconds(oldest)}])
            return True

        await self._work(work)

    async def failures(self, *, node: str, address: str, since: datetime | None, limit: int) -> Sequence[Failure]:
        """Failures, the newest first."""
        row: dict[str, Any] = {"since": 0 if since is None else milliseconds(since), "limit": limit}
        if node:
            found = await self._reader.query(sql_failures.OF_NODE, row | {"node": node})
        elif address:
            found = await self._reader.query(sql_failures.OF_ADDRESS, row | {"address": address})
        else:
            found = await self._reader.query(sql_failures.ALL, row)
        return [rows.failure(one) for one in found]

    async def nodes_at(self, address: str) -> Sequence[str]:
        """The nodes whose last address this is."""
        return [row[0] for row in await self._reader.query(sql_failures.NODES_AT, {"address": address})]

    # audit

    async def note(self, event: Event) -> None:
        """Record something that changed no other row."""
        await self._writer.submit(Unit(events=(event,)))

    async def audit(self, after: int = 0, limit: int = 1000) -> Sequence[AuditRecord]:
        """Audit records from number `after` + 1 on, at most `limit`."""
        found = await self._reader.query(sql.AUDIT, {"after": after, "limit": limit})
        return [rows.audit_record(row) for row in found]


def _issue(signed: Signed, at: datetime) -> Step:
    fingerprint = hashlib.sha256(signed.der).digest()
    return Step(sql.ISSUE, (signed.der, fingerprint, milliseconds(at), signed.issuer_id, signed.serial))


def _overtaken(step: Step) -> EdgewardError:
    *_, serial = step.row
    return Conflict(what=f"certificate {serial} is not planned any more")


def _admit(record: CertificateRecord, admission: Admission) -> list[Step]:
    """The conditions for a row, each of them a step that changes one row where it holds."""
    at = milliseconds(admission.at)
    steps = []
    if admission.use is not None:
        steps.append(Step(sql.SPEND, (1, admission.use.key_id, at)))
    steps.append(Step(sql.ADMIT_DEVICE, (record.identity, at, int(admission.unblock))))
    if admission.supersedes is not None:
        steps.append(Step(sql.SUPERSEDE_UNCONNECTED, (at, admission.supersedes, record.identity)))
    if admission.renews is not None:
        steps.append(Step(sql.HOLD_RENEWED, (admission.renews, record.identity)))
    return steps


def _refusal(step: Step, record: CertificateRecord, admission: Admission | None) -> EdgewardError:
    """Why a certificate is not planned or adopted: the step that changed nothing says it."""
    match step.statement:
        case sql.SPEND:
            return TokenSpent(uses="all" if admission is None or admission.uses is None else admission.uses)
        case sql.ADMIT_DEVICE:
            return NodeBlocked(node=record.identity, why="it was revoked")
        case sql.SUPERSEDE_UNCONNECTED:
            return Conflict(what=f"certificate {'' if admission is None else admission.supersedes} gives way no more")
        case sql.HOLD_RENEWED:
            return CertificateRefused(why="it was revoked just now")
        case sql.PLAN if admission is None or not admission.new_name_only:
            return SerialCollision(serial=record.serial)
        case sql.PLAN | sql.ADOPT:
            return NodeHasCertificate(node=record.identity)
        case sql.ISSUE:
            return _overtaken(step)
        case _:
            return InternalError(problem=f"a row that nothing speaks against was not written: {step.statement}")
