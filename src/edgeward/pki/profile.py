"""The rules for one kind of certificate, as a value: what its subject says, what its key may do, how long it lives."""

import functools
from dataclasses import dataclass
from datetime import timedelta

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edgeward.errors import UsageError
from edgeward.pki import keys
from edgeward.pki.tbs import Planned, Subject, extension

PURPOSES = {"clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH, "serverAuth": ExtendedKeyUsageOID.SERVER_AUTH}
"""The extended key usages that a profile may give. RFC 5280 section 4.2.1.12."""

_USAGE_NAMES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The rules for one kind of certificate.

    `common_name`, `organization` and `uri` are templates over `{identity}` and `{trust_domain}`; an empty one leaves the field out.
    `lifetime` is at least a minute; `backdate` (0 to 1 day) moves notBefore into the past for peers whose clocks are slow.
    `path_length`, `permitted` and `excluded` are for CAs alone: how many CAs may follow (0: none), and the names that whatever is below
    may and may not have (name constraints, RFC 5280 section 4.2.1.10). Raises `UsageError` for rules that contradict each other.
    """

    name: str
    common_name: str
    organization: str = ""
    uri: str = ""
    purposes: tuple[str, ...] = ()
    key_algorithms: frozenset[str] = frozenset({"ec-p256", "ec-p384", "rsa", "ed25519"})
    lifetime: timedelta
    backdate: timedelta = timedelta(minutes=5)
    ca: bool = False
    path_length: int | None = None
    permitted: tuple[x509.GeneralName, ...] = ()
    excluded: tuple[x509.GeneralName, ...] = ()

    def __post_init__(self) -> None:
        problems = []
        if not timedelta(minutes=1) <= self.lifetime <= timedelta(days=36525):
            problems.append("lifetime is between a minute and a hundred years")
        if not timedelta(0) <= self.backdate <= timedelta(days=1):
            problems.append("backdate is between 0 and a day")
        if unknown := set(self.purposes) - PURPOSES.keys():
            problems.append(f"unknown purposes {sorted(unknown)}; known are {sorted(PURPOSES)}")
        if unknown := set(self.key_algorithms) - keys.ALGORITHMS:
            problems.append(f"unknown key algorithms {sorted(unknown)}; known are {sorted(keys.ALGORITHMS)}")
        if not self.common_name:
            problems.append("common_name is empty")
        if self.ca and self.purposes:
            problems.append("a CA has no extended key usages")
        if not self.ca and (self.path_length is not None or not self.purposes):
            problems.append("path_length is for CAs, and every other certificate names its purposes")
        if not self.ca and (self.permitted or self.excluded):
            problems.append("name constraints are for CAs")
        for template in (self.common_name, self.organization, self.uri):
            try:
                template.format(identity="x", trust_domain="x")
            except (KeyError, IndexError, ValueError, AttributeError, TypeError):
                problems.append(f"{template!r} may contain {{identity}} and {{trust_domain}} alone")
        if problems:
            raise UsageError(problem=f"profile {self.name}: {'; '.join(problems)}")

    def subject(self, identity: str, trust_domain: str) -> Subject:
        """The distinguished name for `identity`: O, if the profile has one, then CN."""
        common_name = self.common_name.format(identity=identity, trust_domain=trust_domain)
        if not self.organization:
            return ((NameOID.COMMON_NAME, common_name),)
        organization = self.organization.format(identity=identity, trust_domain=trust_domain)
        return (NameOID.ORGANIZATION_NAME, organization), (NameOID.COMMON_NAME, common_name)

    def names(self, identity: str, trust_domain: str) -> tuple[x509.GeneralName, ...]:
        """The subject alternative names that follow from the identity alone (a URI, SPIFFE ID section 2)."""
        if not self.uri:
            return ()
        return (x509.UniformResourceIdentifier(self.uri.format(identity=identity, trust_domain=trust_domain)),)

    def extensions(self, algorithm: str) -> tuple[Planned, ...]:
        """The extensions that are the same for every certificate with a key of this algorithm: whether it is a CA, and what the key may
        do. RFC 5280 sections 4.2.1.9, 4.2.1.3 and 4.2.1.12; BR 7.1.2.7.11: no keyEncipherment on EC keys."""
        common = _extensions(self.ca, self.path_length, self.purposes, algorithm == "rsa")
        return (*common, _constraints(self.permitted, self.excluded)) if self.permitted or self.excluded else common


@functools.lru_cache(maxsize=256)
def _extensions(
    ca: bool, path_length: int | None, purposes: tuple[str, ...], encipherment: bool
) -> tuple[Planned, ...]:
    leaf = {"digital_signature", "key_encipherment"} if encipherment else {"digital_signature"}
    given = {"key_cert_sign", "crl_sign"} if ca else leaf
    extensions = [
        extension(x509.BasicConstraints(ca=ca, path_length=path_length), True),
        extension(x509.KeyUsage(**{name: name in given for name in _USAGE_NAMES}), True),
    ]
    if purposes:
        extensions.append(extension(x509.ExtendedKeyUsage([PURPOSES[purpose] for purpose in purposes]), False))
    return tuple(extensions)


@functools.lru_cache(maxsize=16)
def _constraints(permitted: tuple[x509.GeneralName, ...], excluded: tuple[x509.GeneralName, ...]) -> Planned:
    return extension(x509.NameConstraints(permitted or None, excluded or None), True)


def default_profiles() -> dict[str, Profile]:
    """The profiles of a new authority; `[profiles.NAME]` in the configuration changes them."""
    return {
        profile.name: profile
        for profile in (
            Profile(
                name="ca",
                common_name="{identity}",
                lifetime=timedelta(days=3652),
                ca=True,
                path_length=0,
            ),
            Profile(
                name="server",
                common_name="{identity}",
                organization="Edgeward",
                purposes=("serverAuth",),
                lifetime=timedelta(days=397),
            ),
            Profile(
                name="device",
                common_name="system:node:{identity}",
                organization="system:nodes",
                uri="spiffe://{trust_domain}/node/{identity}",
                purposes=("clientAuth",),
                lifetime=timedelta(days=365),
            ),
            Profile(
                name="operator",
                common_name="{identity}",
                organization="edgeward:operators",
                uri="spiffe://{trust_domain}/operator/{identity}",
                purposes=("clientAuth",),
                lifetime=timedelta(days=90),
            ),
        )
    }
