"""A whole authority in memory: the real services over SQLite in memory and keys in memory, with a clock that the test moves."""

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edgeward.keys.memory import MemoryKeys
from edgeward.model.authority import CertificateRecord
from edgeward.model.evidence import CertificateEvidence, Enrolment, Evidence, Operator, TokenEvidence
from edgeward.model.token import Hints, JoinToken, Token
from edgeward.pki.profile import Profile, default_profiles
from edgeward.services.adoption import Adoption
from edgeward.services.authorities import Authorities
from edgeward.services.issuance import Issuance
from edgeward.services.kubeedge_tokens import KubeEdgeTokens
from edgeward.services.migration import Migration
from edgeward.services.registrar import Registrar
from edgeward.services.revoker import Revoker
from edgeward.services.standing import StandingTokens
from edgeward.services.tokens import Tokens, Wanted
from edgeward.stores.relational import RelationalStore
from edgeward.stores.sqlite import open_store

NOON = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)

Attributes = Sequence[tuple[x509.ObjectIdentifier, str]]


def new_key() -> ec.EllipticCurvePrivateKey:
    """A fresh P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def node_subject(node: str) -> Attributes:
    """The subject that a real edge asks for."""
    return [
        (NameOID.COUNTRY_NAME, "CN"),
        (NameOID.ORGANIZATION_NAME, "system:nodes"),
        (NameOID.LOCALITY_NAME, "Hangzhou"),
        (NameOID.STATE_OR_PROVINCE_NAME, "Zhejiang"),
        (NameOID.COMMON_NAME, f"system:node:{node}"),
    ]


def csr(
    subject: Attributes | str, key: Any = None, extensions: Sequence[tuple[x509.ExtensionType, bool]] = ()
) -> bytes:
    """A certificate request (DER) for a node, or with any subject."""
    attributes = node_subject(subject) if isinstance(subject, str) else subject
    builder = x509.CertificateSigningRequestBuilder(
        x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])
    )
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    key = key or new_key()
    algorithm = hashes.SHA256() if hasattr(key, "curve") or hasattr(key, "key_size") else None
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.DER)


@dataclass
class World:
    """The services of one authority, and a few verbs for tests."""

    store: RelationalStore
    keys: MemoryKeys
    issuance: Issuance
    authorities: Authorities
    registrar: Registrar
    tokens: Tokens
    revoker: Revoker
    kubeedge_tokens: KubeEdgeTokens
    adoption: Adoption
    migration: Migration
    standing: StandingTokens
    now: datetime = NOON
    cut: list[CertificateRecord] = field(default_factory=list)

    async def token(self, node: str | None = None, **wanted: Any) -> tuple[JoinToken, Token]:
        """A new join token."""
        network = wanted.pop("network", None)
        if network is not None:
            wanted["network"] = ipaddress.ip_network(network)
        return await self.tokens.new(Wanted(node=node, **wanted), actor="operator:test", now=self.now)

    async def enrol(
        self,
        node: str,
        evidence: Evidence | JoinToken | bytes | None = None,
        request: bytes | None = None,
        address: str = "192.0.2.1",
    ) -> bytes:
        """The certificate for a node: by token, by client certificate (DER), or by an operator when nothing is shown."""
        match evidence:
            case JoinToken():
                shown: Evidence = TokenEvidence(bearer=evidence.bearer)
            case bytes():
                shown = CertificateEvidence(der=evidence)
            case None:
                shown = Operator(name="test")
            case _:
                shown = evidence
        return await self.registrar.enrol(
            Enrolment(node=node, csr=request or csr(node), evidence=shown, address=address, at=self.now)
        )

    def later(self, **span: float) -> None:
        """Move the clock."""
        self.now += timedelta(**span)

    async def issued(self) -> int:
        """How many device certificates there are."""
        return sum(
            r.action == "certificate.issued" and '"profile":"device"' in r.facts
            for r in await self.store.audit(0, 100_000)
        )


@contextlib.asynccontextmanager
async def world(profiles: dict[str, Profile] | None = None, grace: timedelta = timedelta(0)) -> AsyncIterator[World]:
    """An authority that exists for as long as the block does."""
    store = open_store(":memory:")
    keys = MemoryKeys()
    profiles = profiles or default_profiles()
    issuance = Issuance(store, profiles, "edgeward")
    authorities = Authorities(store, keys, issuance, profiles)
    cut: list[CertificateRecord] = []
    await authorities.open("Edgeward CA test", NOON)
    kubeedge_tokens = KubeEdgeTokens(store, authorities.kubeedge_mac)
    adoption = Adoption(store)
    tokens = Tokens(store, lambda: authorities.active.pin, lambda: Hints(https=("10.0.0.1:10002",), hub=()))
    try:
        yield World(
            store=store,
            keys=keys,
            issuance=issuance,
            authorities=authorities,
            registrar=Registrar(
                store, issuance, grace=grace, foreign=kubeedge_tokens, adoption=adoption, revoked=cut.extend
            ),
            tokens=tokens,
            revoker=Revoker(store, cut.extend, expecting=lambda: adoption.terms.until is not None),
            kubeedge_tokens=kubeedge_tokens,
            adoption=adoption,
            migration=Migration(authorities, kubeedge_tokens, adoption),
            standing=StandingTokens(store, keys, tokens, lambda: authorities.active.pin),
            cut=cut,
        )
    finally:
        await store.close()


def run(coroutine: Any) -> Any:
    """Run a coroutine to its end."""
    return asyncio.run(coroutine)
