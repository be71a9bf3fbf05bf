"""Verification of certificates: RFC 5280 section 6 in full, with names, revocation and profiles, as a pure function.

`verify` takes DER, a time and a `Question`, and answers a `Verdict` that lists every check. The files, from the bottom:
`der`, `dn` and `syntax` (encodings and names), `algorithms` and `meter` (signatures and the budget), `facts` (one
certificate), `build` (paths), `rules`, `constraints`, `policies` (section 6.1), `forms` and `webpki` (profiles), `crl`,
`ocsp` and `revocation` (section 6.3), `names` (RFC 9525), `engine` (all of it).
"""

from edgeward.pki.verify.algorithms import Algorithms
from edgeward.pki.verify.engine import Question, verify
from edgeward.pki.verify.names import NameKind, PeerName
from edgeward.pki.verify.options import (
    ANY_POLICY,
    Budget,
    KeyUse,
    Limits,
    PolicyInputs,
    Profile,
    Purpose,
    Revocation,
)
from edgeward.pki.verify.verdict import Check, Outcome, Rejected, Step, Verdict

__all__ = [
    "ANY_POLICY",
    "Algorithms",
    "Budget",
    "Check",
    "KeyUse",
    "Limits",
    "NameKind",
    "Outcome",
    "PeerName",
    "PolicyInputs",
    "Profile",
    "Purpose",
    "Question",
    "Rejected",
    "Revocation",
    "Step",
    "Verdict",
    "verify",
]
