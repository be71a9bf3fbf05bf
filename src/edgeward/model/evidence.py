"""What a requester showed. A closed union: a fifth kind of proof is a security decision and touches the core."""

from dataclasses import dataclass
from datetime import datetime

from edgeward.model.token import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenEvidence:
    """A bearer token, not yet looked up: `a.b.c`."""

    bearer: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateEvidence:
    """A client certificate whose private key TLS has proved, not yet looked up: its DER."""

    der: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenNames:
    """Names whose control was proved by a challenge (ACME)."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """A person with access to the administrative socket, or with an operator certificate."""

    name: str


Evidence = TokenEvidence | CertificateEvidence | ProvenNames | Operator


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """One request for a device certificate: who it says it is, from where, with which CSR (DER), at what time."""

    node: str
    csr: bytes
    evidence: Evidence
    address: str
    at: datetime
