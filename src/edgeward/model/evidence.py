"""What a requester showed. A closed union: a fifth kind of proof is a security decision and touches the core."""

from datetime import datetime

import msgspec

from edgeward.model.token import Secret


class TokenEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """A bearer token, not yet looked up: `a.b.c`."""

    bearer: Secret


class CertificateEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """A client certificate whose private key TLS has proved, not yet looked up: its DER."""

    der: bytes


class ProvenNames(msgspec.Struct, frozen=True, kw_only=True):
    """Names whose control was proved by a challenge (ACME)."""

    names: tuple[str, ...]


class Operator(msgspec.Struct, frozen=True, kw_only=True):
    """A person with access to the administrative socket, or with an operator certificate."""

    name: str


Evidence = TokenEvidence | CertificateEvidence | ProvenNames | Operator


class Enrolment(msgspec.Struct, frozen=True, kw_only=True):
    """One request for a device certificate: who it says it is, from where, with which CSR (DER), at what time."""

    node: str
    csr: bytes
    evidence: Evidence
    address: str
    at: datetime
