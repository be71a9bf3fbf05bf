"""Keys that are the same every time, requests made of them, and a CA to sign with."""

from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from edgeward.pki import csr, parse
from edgeward.pki.csr import Requested
from edgeward.pki.issue import Grant, Issuing, Plan, decide, sign
from edgeward.pki.profile import Profile, default_profiles

NOON = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
DOMAIN = "edgeward.internal"
SERIAL = 0x8000_0000_0000_0000_0000_0000_0000_0001
PROFILES = default_profiles()


def fixed_key(scalar: int, curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    """The EC key whose private scalar is `scalar`: the same every time, and no secret."""
    return ec.derive_private_key(scalar, curve or ec.SECP256R1())


CA_KEY = fixed_key(0xCA)
LEAF_KEY = fixed_key(0x1EAF)


def ca_plan(now: datetime = NOON, key: Any = CA_KEY, profile: Profile = PROFILES["ca"], serial: int = SERIAL) -> Plan:
    """The plan of a self-signed CA."""
    asked = csr.asked_by_key(key.public_key())
    return decide(
        profile, asked, Grant(identity="Edgeward CA test"), issuer=None, trust_domain=DOMAIN, now=now, serial=serial
    )


def ca(now: datetime = NOON, key: Any = CA_KEY, lifetime: timedelta = timedelta(days=3652)) -> tuple[bytes, Issuing]:
    """A CA (DER), and what a plan needs of it."""
    profile = Profile(name="ca", common_name="{identity}", lifetime=lifetime, ca=True, path_length=0)
    der = sign(ca_plan(now, key, profile), key)
    return der, Issuing.of(x509.load_der_x509_certificate(der), parse.spki(key.public_key()))


def plan(**changes: Any) -> Plan:
    """The plan of a device certificate; `changes` are arguments of `decide`, `profile` and `grant` among them."""
    requested: Requested = changes.pop("requested", None) or csr.asked_by_key(LEAF_KEY.public_key())
    profile: Profile = changes.pop("profile", PROFILES["device"])
    grant: Grant = changes.pop("grant", Grant(identity="edge-1"))
    facts: dict[str, Any] = {"trust_domain": DOMAIN, "now": NOON, "serial": SERIAL}
    if "issuer" not in changes:
        facts["issuer"] = ca()[1]
    return decide(profile, requested, grant, **(facts | changes))
