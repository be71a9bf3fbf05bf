"""What a verification is asked: profile, purpose, names, policies, revocation and the budget of work."""

from dataclasses import dataclass, field
from enum import StrEnum

from cryptography.x509.oid import ExtendedKeyUsageOID

from edgeward.errors import UsageError

ANY_POLICY = "2.5.29.32.0"
"""The special policy that stands for every policy. RFC 5280 section 4.2.1.4."""


class Profile(StrEnum):
    """How much of a certificate's form counts. Every profile applies all rules of the path.

    `DEVICE` applies nothing else, `RFC5280` adds the form that RFC 5280 section 4 prescribes, `WEBPKI` adds that of the
    CA/Browser Forum's Baseline Requirements.
    """

    DEVICE = "device"
    RFC5280 = "rfc5280"
    WEBPKI = "webpki"


class Purpose(StrEnum):
    """What the leaf is to be used for. RFC 5280 section 4.2.1.12."""

    SERVER = "server"
    CLIENT = "client"
    ANY = "any"


class Revocation(StrEnum):
    """Whose status must be known to be good: nobody's, the leaf's, or that of every certificate under the anchor."""

    NONE = "none"
    LEAF = "leaf"
    CHAIN = "chain"


PURPOSE_OIDS = {
    Purpose.SERVER: ExtendedKeyUsageOID.SERVER_AUTH,
    Purpose.CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much work one verification may cost. A spent budget makes a verdict invalid, never valid.

    The defaults let the worst of inputs end in some tens of milliseconds, and no honest chain comes near them.
    """

    signatures: int = 128
    """Signature verifications; about 0.1 ms each."""
    steps: int = 4096
    """Edges that path building may look at."""
    paths: int = 64
    """Complete paths that may be judged."""
    octets: int = 1 << 23
    """Octets of certificates in the complete paths that are judged."""
    certificates: int = 2048
    """Untrusted certificates that are read; the rest is ignored and said so."""
    length: int = 32
    """Certificates in a path, the anchor not counted."""
    comparisons: int = 1 << 19
    """Names times constraints, all certificates together. What would go above it is refused without comparing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyInputs:
    """The inputs (c) to (f) of RFC 5280 section 6.1.1; policies are dotted object identifiers."""

    acceptable: frozenset[str] = frozenset((ANY_POLICY,))
    require_explicit: bool = False
    inhibit_mapping: bool = False
    inhibit_any: bool = False

    def __post_init__(self) -> None:
        if not self.acceptable:
            raise UsageError(problem="the set of acceptable policies is empty")


class KeyUse(StrEnum):
    """The bits of keyUsage by the names of RFC 5280 section 4.2.1.3."""

    DIGITAL_SIGNATURE = "digitalSignature"
    CONTENT_COMMITMENT = "contentCommitment"
    KEY_ENCIPHERMENT = "keyEncipherment"
    DATA_ENCIPHERMENT = "dataEncipherment"
    KEY_AGREEMENT = "keyAgreement"
    KEY_CERT_SIGN = "keyCertSign"
    CRL_SIGN = "cRLSign"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Inputs that bound the path beyond the certificates' own rules."""

    intermediates: int | None = None
    """The most intermediate certificates that are not self-issued, or None."""
    policies: PolicyInputs = field(default_factory=PolicyInputs)
    key_usage: frozenset[KeyUse] = frozenset()
    """Bits that the leaf's keyUsage must have when it has a keyUsage."""
    budget: Budget = field(default_factory=Budget)
