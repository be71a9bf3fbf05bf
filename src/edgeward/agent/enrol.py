"""How an edge gets its certificate: the CA fetched and compared with its pin, a key made here, a request, a checked answer.

The private key never leaves. Nothing that a server says is believed before it is checked: the CA against the token's pin, the server
against the CA, the certificate against our key, our name and the CA. The same road renews, with the current pair as the proof.
"""

import hmac
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edgeward.agent import https, trust
from edgeward.agent.endpoint import Endpoint
from edgeward.errors import AuthorityMismatch, ServerFailing, ServerRefused, Unreadable
from edgeward.model.token import JoinToken, Secret
from edgeward.pki import names, parse
from edgeward.transports import client_tls

Check = Callable[[Sequence[bytes]], None]
"""Looks at the certificates (DER) that a server presented, its own first, and raises when it is not trusted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A certificate and the private key that belongs to it, read from these files."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    certificate_file: Path
    key_file: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """What an enrolment ends with: the CA (DER), the certificate (DER) for our key, and the server that gave it."""

    ca: bytes
    certificate: bytes
    endpoint: Endpoint


def new_key() -> ec.EllipticCurvePrivateKey:
    """A new P-256 key, made by the operating system's randomness."""
    return ec.generate_private_key(ec.SECP256R1())


def certificate_request(key: ec.EllipticCurvePrivateKey, node: str) -> bytes:
    """The DER PKCS#10 request that a KubeEdge edge sends: O=system:nodes, CN=system:node:<node>, and nothing else."""
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, names.NODES_ORGANIZATION),
            x509.NameAttribute(NameOID.COMMON_NAME, names.NODE_PREFIX + node),
        ]
    )
    request = x509.CertificateSigningRequestBuilder(subject_name=subject).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.DER)


async def fetch_ca(endpoint: Endpoint, pin: str, *, timeout: float = https.TIMEOUT) -> bytes:
    """The DER of the CA that `endpoint` offers and the token pins (SHA-256, lower-case hex). The server is not verified: the pin is.

    Raises `AuthorityMismatch` when it is another CA, `ServerRefused`, `ServerFailing`, `Unreadable`, `Unreachable`, `HandshakeFailed`.
    """
    answer = await https.get(endpoint, "/ca.crt", context=client_tls.client_context(), verify=None, timeout=timeout)
    _accepted(answer, f"https://{endpoint}/ca.crt")
    actual = sha256(answer.body).hexdigest()
    if not hmac.compare_digest(actual, pin):
        raise AuthorityMismatch(actual=actual, expected=pin)
    parse.certificate(answer.body)
    return answer.body


async def enrol(
    endpoint: Endpoint,
    token: JoinToken,
    *,
    node: str,
    key: ec.EllipticCurvePrivateKey,
    now: datetime,
    timeout: float = https.TIMEOUT,
) -> Enrolled:
    """A certificate for `node` and `key`, with a join token as the proof. `now` is aware UTC.

    Asking again with the same token and the same key brings the same certificate again from our own server, so that a lost answer
    costs nothing.

    Raises `AuthorityMismatch`, `ServerRefused`, `ServerFailing`, `CertificateRefused`, `Unreadable`, `Unreachable`, `HandshakeFailed`.
    """
    ca = await fetch_ca(endpoint, token.pin, timeout=timeout)
    certificate = await _request(
        endpoint,
        anchors=[parse.certificate(ca)],
        node=node,
        key=key,
        proof=token.bearer,
        pair=None,
        now=now,
        timeout=timeout,
    )
    return Enrolled(ca=ca, certificate=certificate, endpoint=endpoint)


async def renew(
    endpoint: Endpoint,
    *,
    anchors: trust.Anchors,
    node: str,
    key: ec.EllipticCurvePrivateKey,
    pair: Pair,
    now: datetime,
    timeout: float = https.TIMEOUT,
) -> bytes:
    """A certificate (DER) for `node` and the new `key`, with the current `pair` as the proof.

    `anchors` are the CAs that are trusted; nothing is fetched. Raises what `enrol` raises.
    """
    return await _request(
        endpoint, anchors=anchors, node=node, key=key, proof=None, pair=pair, now=now, timeout=timeout
    )


async def _request(
    endpoint: Endpoint,
    *,
    anchors: trust.Anchors,
    node: str,
    key: ec.EllipticCurvePrivateKey,
    proof: Secret | None,
    pair: Pair | None,
    now: datetime,
    timeout: float,
) -> bytes:
    headers = {"NodeName": node}
    if proof is not None:
        headers["Authorization"] = f"Bearer {proof.reveal()}"
    answer = await https.get(
        endpoint,
        "/edge.crt",
        context=client_context(pair),
        verify=partial(verify_server, anchors=anchors, host=endpoint.host, now=now),
        headers=headers,
        body=certificate_request(key, node),
        timeout=timeout,
    )
    _accepted(answer, f"https://{endpoint}/edge.crt", proof)
    trust.verify_issued(answer.body, anchors=anchors, key=key.public_key(), node=node, now=now)
    return answer.body


def client_context(pair: Pair | None) -> ssl.SSLContext:
    """The TLS context of this edge, which presents its certificate alone, if it has one, and leaves all verification to `verify_server`."""
    return client_tls.client_context_from(pair.certificate_file, pair.key_file) if pair else client_tls.client_context()


def verify_server(connection: ssl.SSLObject, *, anchors: trust.Anchors, host: str, now: datetime) -> None:
    """Whether the peer of this finished handshake is `host` under `anchors`: `trust.verify_server` raises if not."""
    trust.verify_server(client_tls.presented_chain(connection), anchors, host, now)


def refusal(url: str, status: int, words: str) -> ServerRefused | ServerFailing:
    """What a server's answer other than yes means: whether the same request may succeed later is what its status says (RFC 9110
    section 15). 408 and 429 ask us to come again."""
    answer, _, advice = words.partition("\nhint: ")
    if 400 <= status < 500 and status not in (408, 429):
        return ServerRefused(url=url, status=status, answer=answer, advice=advice.strip())
    return ServerFailing(url=url, status=status, answer=answer)


def _accepted(answer: https.Answer, url: str, proof: Secret | None = None) -> None:
    """Only 200 with a body will do: old KubeEdge servers answer a failure to sign with 200 and nothing.

    The server's words are passed on, except where they repeat the secret it was sent.
    """
    if answer.status != 200:
        words = answer.body.decode("utf-8", "replace").strip() or "(nothing)"
        if proof is not None:
            words = words.replace(proof.reveal(), "***")
        raise refusal(url, answer.status, words)
    if not answer.body:
        raise Unreadable(what="certificate", why=f"{url} answered 200 and nothing, so the server could not sign")
