"""Moving a fleet from KubeEdge's cloud and back: its CA comes in with the terms for its nodes, and Secrets go out that cloudcore loads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes, PrivateKeyTypes

from edgeward.errors import KeyPolicyRefused, UsageError
from edgeward.model.jwt import KubeEdgeJwt
from edgeward.model.token import Secret
from edgeward.pki.formats import pkcs8
from edgeward.services import adoption, kubeedge_tokens
from edgeward.services.adoption import Adoption, Terms
from edgeward.services.authorities import Authorities
from edgeward.services.kubeedge_tokens import Acceptance, KubeEdgeTokens

TOKEN_LIFETIME = timedelta(hours=24)
"""What cloudcore gives its tokens; it writes a new one over this at every start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """What comes from KubeEdge: the CA (DER) and its key, or nothing where it is here already; `advertised`, the names that its server
    certificate had; for which names and until when its tokens are honoured; on which terms its nodes are adopted, None to leave those."""

    certificate: bytes | None = None
    key: CertificateIssuerPrivateKeyTypes | None = None
    advertised: Sequence[str] = ()
    tokens: Acceptance | None = None
    terms: Terms | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """Secrets by name, each its fields; `notes` says in words what cloudcore will make of them."""

    secrets: Mapping[str, Mapping[str, bytes]] = field(repr=False)
    notes: tuple[str, ...] = ()


class Migration:
    """The one road in and out."""

    def __init__(self, authorities: Authorities, tokens: KubeEdgeTokens, taken_over: Adoption) -> None:
        self._authorities = authorities
        self._tokens = tokens
        self._adoption = taken_over

    @property
    def terms(self) -> Terms:
        """On which terms certificates are adopted now."""
        return self._adoption.terms

    @property
    def tokens(self) -> Acceptance | None:
        """Which of KubeEdge's own tokens are honoured."""
        return self._tokens.acceptance

    async def bring(self, brought: Brought, *, actor: str, now: datetime) -> tuple[str, ...]:
        """Take it over; how the CA deviates from one that would be made here. It may be done again: what is done already stays.

        Raises `UsageError` for dates that are past, before anything is changed, and what `Authorities.adopt` raises. The server
        certificate is another matter: whoever calls this has it issued anew.
        """
        if brought.terms is not None:
            adoption.judge(brought.terms, now)
        if brought.tokens is not None:
            kubeedge_tokens.judge(brought.tokens, now)
        deviations: tuple[str, ...] = ()
        if brought.certificate is not None and brought.key is not None:
            _, deviations = await self._authorities.adopt(brought.certificate, brought.key, actor=actor, now=now)
            await self._adoption.load()
        if brought.tokens is not None:
            await self._tokens.accept(brought.tokens, actor=actor, now=now)
        if brought.terms is not None:
            await self._adoption.allow(brought.terms, actor=actor, now=now)
        if brought.advertised:
            present = await self._authorities.advertised()
            await self._authorities.advertise([*present, *brought.advertised], actor=actor, now=now)
        return deviations

    async def export(self, *, with_ca_key: bool, actor: str, now: datetime) -> Exported:
        """What a cloudcore needs to go on with this CA: the CA, a server certificate of its own for the advertised names, a token.

        The CA's key only where it is asked for; that is audited. Raises `KeyPolicyRefused` for a key in hardware.
        """
        advertised = await self._authorities.advertised()
        if not advertised:
            raise UsageError(
                problem="no name is advertised, so the server certificate would be valid for none: edgeward advertise add NAME"
            )
        notes: list[str] = []
        ca = {"cadata": self._authorities.active.certificate}
        if with_ca_key:
            key = pkcs8.read(await self._authorities.export_key(actor=actor, now=now))
            ca["cakeydata"] = _traditional(key)
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                notes.append("the CA's key is RSA: cloudcore v1.13 to v1.17 can sign with it, later ones cannot")
        else:
            notes.append(
                "without the CA's key cloudcore serves the nodes that are enrolled, and can enrol and renew none (--with-ca-key)"
            )
        certificate, server_key = await self._authorities.pair_for_elsewhere(advertised, actor=actor, now=now)
        secrets: dict[str, dict[str, bytes]] = {
            "casecret": ca,
            "cloudcoresecret": {"cloudcoredata": certificate, "cloudcorekeydata": _traditional(server_key)},
        }
        try:
            token = self._token(now + TOKEN_LIFETIME)
            secrets["tokensecret"] = {"tokendata": token.reveal().encode()}
        except KeyPolicyRefused:
            notes.append("no tokensecret: KubeEdge's tokens need a CA key of EC or RSA outside hardware")
        return Exported(secrets=secrets, notes=tuple(notes))

    def _token(self, expires_at: datetime) -> Secret:
        signed = KubeEdgeJwt.to_sign(expires_at)
        text = KubeEdgeJwt.with_mac(signed, self._authorities.kubeedge_mac(signed))
        return Secret(f"{self._authorities.active.pin}.{text}")


def _traditional(key: PrivateKeyTypes) -> bytes:
    """SEC 1 for EC, PKCS#1 for RSA: the forms that cloudcore reads. Raises `KeyPolicyRefused` for other kinds."""
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise KeyPolicyRefused(why="cloudcore reads EC and RSA keys alone")
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
