"""Real files of every format to mutate: made here from fixed keys, and taken from the library's vectors (see their
own provenance).

Derivations have few rounds, because the fuzzer is about parsers.
"""

import base64
import functools
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cryptography_vectors
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from edgeward.pki import requests
from edgeward.pki.formats import jks, pem, pkcs7, pkcs8, pkcs12

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
PASSWORD = "password"
DER = serialization.Encoding.DER

TOKEN = (
    "03504734273499a2f5900ab8e73e6a967f9d610a2259ad90482a1e2e3fc10c18.eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
    "eyJleHAiOjE3MDAwODY0MDB9.UePwYA_VDOG4fxmcpNnG_ZmCKDvCdrUf2oStD_1l0Vw"
)
"""A token of a throw-away CA that KubeEdge 1.20 made."""

_VECTORS = (
    "x509/cryptography.io.pem", "x509/cryptography.io.chain.pem", "x509/wildcard_san.pem", "x509/ecdsa_root.pem",
    "x509/v1_cert.pem", "x509/requests/rsa_sha256.pem", "x509/requests/challenge.pem",
    "x509/custom/crl_all_reasons.pem", "x509/custom/crl_idp_fullname_indirect_crl.pem",
    "x509/ocsp/resp-sha256.der", "x509/ocsp/req-sha1.der", "x509/custom/san_other_name.pem",
    "x509/custom/nc_permitted_excluded.pem", "x509/custom/cp_user_notice_with_notice_reference.pem",
    "x509/tls-feature-ocsp-staple.pem", "x509/badssl-sct.pem", "x509/cryptography-scts.pem", "x509/bigoid.pem",
    "x509/ms-certificate-template.pem", "x509/custom/authority_key_identifier.pem",
    "x509/custom/policy_constraints_explicit.pem", "pkcs7/amazon-roots.p7b", "pkcs7/isrg.pem",
    "pkcs12/cert-rc2-key-3des.p12", "pkcs12/no-password.p12", "pkcs12/java-truststore.p12",
    "pkcs12/name-all-pwd.p12", "asymmetric/PKCS8/unencpkcs8.pem", "asymmetric/public/PKCS1/rsa.pub.pem",
    "asymmetric/PEM_Serialization/rsa_private_key.pem",
    "asymmetric/PEM_Serialization/ec_private_key_encrypted.pem", "asymmetric/PKCS8/enc-rsa-pkcs8.pem",
    "asymmetric/Ed25519/ed25519-pkcs8.pem", "asymmetric/EC/ec_private_key.pem",
)  # fmt: skip


def entropy(seed: int = 1) -> Callable[[int], bytes]:
    """Octets that look random and are the same every time."""
    source = random.Random(seed)
    return source.randbytes


def key(number: int = 7) -> ec.EllipticCurvePrivateKey:
    """A fixed key: never use it for anything."""
    return ec.derive_private_key(number, ec.SECP256R1())


def certificate(
    name: str = "edge-1",
    issuer: str = "",
    *,
    ca: bool = False,
    number: int = 7,
    issuer_number: int = 7,
    days: int = 365,
) -> x509.Certificate:
    """A certificate with the usual extensions, signed by a fixed key."""
    subject = requests.subject(f"/O=Example/CN={name}")
    above = requests.subject(f"/O=Example/CN={issuer or name}")
    public, signer = key(number).public_key(), key(issuer_number)
    builder = (
        x509.CertificateBuilder(above, subject, public, 0x1234567890 + number)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=0 if ca and issuer else None), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
                key_agreement=False, key_cert_sign=ca, crl_sign=ca, encipher_only=False, decipher_only=False,
            ),
            True,
        )
    )  # fmt: skip
    if not ca:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(f"{name}.example")]), False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
    return builder.sign(signer, hashes.SHA256())


def chain() -> list[x509.Certificate]:
    """A leaf, its issuer and the root, in the order in which a server sends them."""
    root = certificate("root", ca=True, number=7, issuer_number=7)
    middle = certificate("middle", "root", ca=True, number=8, issuer_number=7)
    leaf = certificate("edge-1", "middle", number=9, issuer_number=8)
    return [leaf, middle, root]


@functools.cache
def path() -> dict[str, bytes]:
    """A path that is valid at `NOW`, with a list and an answer about its leaf, by the part that each plays."""
    leaf, middle, root = chain()
    crl = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(middle.subject)
        .last_update(NOW)
        .next_update(NOW + timedelta(days=1))
        .add_extension(x509.CRLNumber(1), False)
        .add_revoked_certificate(
            x509.RevokedCertificateBuilder(4711, NOW)
            .add_extension(x509.CRLReason(x509.ReasonFlags.superseded), False)
            .build()
        )
        .sign(key(8), hashes.SHA256())
    )
    ders = {
        name: each.public_bytes(DER)
        for name, each in zip(("leaf", "middle", "root"), (leaf, middle, root), strict=True)
    }
    return ders | {"crl": crl.public_bytes(DER), "ocsp": _ocsp()[1]}


def secret_yaml() -> bytes:
    """KubeEdge's `casecret` as kubectl writes it."""
    ca = base64.b64encode(chain()[2].public_bytes(DER)).decode()
    private = key().private_bytes(DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    return (
        f"apiVersion: v1\ndata:\n  cadata: {ca}\n  cakeydata: {base64.b64encode(private).decode()}\n"
        "kind: Secret\n"
        'metadata:\n  creationTimestamp: "2026-01-01T00:00:00Z"\n  name: casecret\n  namespace: kubeedge\n'
        "type: Opaque\n"
    ).encode()


def kubeconfig() -> bytes:
    """A kubeconfig with its certificates inside."""
    leaf, _, root = (base64.b64encode(pem.write("CERTIFICATE", each.public_bytes(DER))).decode() for each in chain())
    private = base64.b64encode(pem.write("PRIVATE KEY", pkcs8.encode(key(9)))).decode()
    return (
        "apiVersion: v1\nkind: Config\ncurrent-context: main\n"
        f"clusters:\n- cluster:\n    certificate-authority-data: {root}\n"
        f"    server: https://192.0.2.1:6443\n  name: main\nusers:\n- name: admin\n"
        f"  user:\n    client-certificate-data: {leaf}\n"
        f"    client-key-data: {private}\n"
    ).encode()


def _ocsp() -> tuple[bytes, bytes]:
    leaf, middle, _ = chain()
    request = ocsp.OCSPRequestBuilder().add_certificate(leaf, middle, hashes.SHA256()).build()
    answer = (
        ocsp.OCSPResponseBuilder()
        .add_response(
            cert=leaf, issuer=middle, algorithm=hashes.SHA256(), cert_status=ocsp.OCSPCertStatus.GOOD,
            this_update=NOW, next_update=NOW + timedelta(days=1), revocation_time=None, revocation_reason=None,
        )
        .responder_id(ocsp.OCSPResponderEncoding.HASH, middle)
        .sign(key(8), hashes.SHA256())
    )  # fmt: skip
    return request.public_bytes(DER), answer.public_bytes(DER)


def seeds() -> dict[str, bytes]:
    """Every seed by its name."""
    ders = [each.public_bytes(DER) for each in chain()]
    private = pkcs8.encode(key(9))
    wish = requests.Wish(
        subject=requests.subject("/O=Example/CN=edge-1"),
        names=tuple(map(requests.alternative_name, ("edge-1.example", "192.0.2.1", "other:1.2.3;UTF8:x", "a@b.eu"))),
        key_usages=("digitalSignature",), purposes=("clientAuth",), challenge_password="x",
    )  # fmt: skip
    request, answer = _ocsp()
    bags = [
        pkcs12.Bag(kind="key", data=private, name="edge-1", key_id=b"1"),
        *(pkcs12.Bag(kind="certificate", data=der, name="c", key_id=b"1") for der in ders),
    ]
    entries = [jks.Entry(alias="edge-1", created_ms=1, certificates=tuple(ders), key=private)]
    made = {
        "certificate.der": ders[0],
        "chain.pem": b"".join(pem.write("CERTIFICATE", der) for der in ders),
        "request.der": requests.build(wish, key(9)),
        "key.der": private,
        "ed25519.der": pkcs8.encode(ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))),
        "encrypted-key.der": pkcs8.encrypt_pbkdf2(private, b"password", salt=bytes(16), iv=bytes(16), iterations=10),
        "bundle.p7b": pkcs7.write(ders),
        "legacy.p12": pkcs12.write(bags, PASSWORD, entropy=entropy(), legacy=True),
        "store.jks": jks.write(entries, PASSWORD, entropy=entropy()),
        "ocsp-request.der": request,
        "ocsp-answer.der": answer,
        "secret.yaml": secret_yaml(),
        "kubeconfig.yaml": kubeconfig(),
        "secret.json": b'{"apiVersion":"v1","kind":"Secret","metadata":{"name":"tokensecret"},"data":{"tokendata":"'
        + base64.b64encode(TOKEN.encode()) + b'"}}',
        "token.txt": TOKEN.encode(),
    }  # fmt: skip
    folder = Path(cryptography_vectors.__file__).parent
    return made | {name: (folder / name).read_bytes() for name in _VECTORS if (folder / name).exists()}
