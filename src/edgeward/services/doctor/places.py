"""Judging the places whose files have known roles: the directory of an edge (KubeEdge's or ours), and KubeEdge's Secrets. Pure."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from edgeward.errors import BadToken, EdgewardError, TooLarge, Unreadable
from edgeward.model.finding import Finding
from edgeward.model.jwt import KubeEdgeJwt
from edgeward.model.token import JoinToken
from edgeward.pki import keys, parse
from edgeward.pki.formats import pkcs8, yaml
from edgeward.pki.formats.kubernetes import Object
from edgeward.pki.inspect import chain
from edgeward.pki.inspect.certificate import issued_by
from edgeward.pki.severity import Severity
from edgeward.services.doctor.on_disk import Seen, found, is_for_clients, judge_certificate, key_form, names_of, node_of

OLD_IDENTITY = "kubeedge.io"
"""The common name of every node's certificate before KubeEdge 1.16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """An edge's directory: its files, None where there is none, and what its configuration says. `config`: the path of that."""

    directory: str
    ca: Seen | None
    certificate: Seen | None
    key: Seen | None
    config: str = ""
    node: str = ""
    token: str = ""


def edgecore(text: str) -> Mapping[str, str]:
    """What an edgecore.yaml says of interest: `node`, `token`, `https`, `hub`; empty where it does not. Raises `Unreadable`."""
    try:
        documents = yaml.documents(text)
    except TooLarge as error:
        raise Unreadable(what="edgecore.yaml", why=str(error)) from error
    top = documents[0] if documents else {}
    return {
        "node": _in(top, "modules", "edged", "hostnameOverride")
        or _in(top, "modules", "edged", "tailoredKubeletConfig", "hostnameOverride"),
        "token": _in(top, "modules", "edgeHub", "token"),
        "https": _in(top, "modules", "edgeHub", "httpServer"),
        "hub": _in(top, "modules", "edgeHub", "websocket", "server"),
    }


def _in(value: object, *path: str) -> str:
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value.strip() if isinstance(value, str) else ""


def judge_edge(edge: Edge, now: datetime) -> Iterator[Finding]:
    """Whether an edge can enrol, or connect, with what it has."""
    missing = [
        name
        for name, seen in (("the CA", edge.ca), ("the certificate", edge.certificate), ("the key", edge.key))
        if seen is None
    ]
    if edge.certificate is None and edge.key is None:
        if not edge.token:
            yield found(
                "edge-incomplete", directory=edge.directory, detail=", ".join(missing), node=edge.node or "NAME"
            )
    elif missing:
        yield found("edge-incomplete", directory=edge.directory, detail=", ".join(missing), node=edge.node or "NAME")
    certificate = _only(edge.certificate)
    authority = _only(edge.ca)
    if certificate is not None and edge.certificate is not None:
        yield from _edge_certificate(edge, certificate, authority)
        digests = [] if edge.key is None else edge.key.key_digests()
        if edge.key is not None and digests and chain.spki_digest(certificate) not in digests:
            facts = {"directory": edge.directory, "node": edge.node or node_of(certificate)}
            yield found("mixed-pair", cert=edge.certificate.path, key=edge.key.path, **facts)
    if edge.token:
        yield from judge_token(edge.token, authority, now, where=edge.config)
        if certificate is not None and not missing:
            yield found("edge-token-left", config=edge.config)


def _only(seen: Seen | None) -> x509.Certificate | None:
    return next(iter(seen.certificates()), None) if seen is not None else None


def _edge_certificate(
    edge: Edge, certificate: x509.Certificate, authority: x509.Certificate | None
) -> Iterator[Finding]:
    """An edge's certificate against its name and its CA."""
    path = "" if edge.certificate is None else edge.certificate.path
    proven = node_of(certificate)
    facts = {"directory": edge.directory, "node": edge.node or proven or "NAME"}
    if not proven and OLD_IDENTITY in names_of(certificate):
        yield found("edge-old-identity", **facts)
    elif edge.node and proven != edge.node:
        yield found("edge-other-name", proven=proven or names_of(certificate), config=edge.config, **facts)
    if not is_for_clients(certificate):
        yield found("client-eku", subject=names_of(certificate), usages="another", **facts)
    if authority is not None and edge.ca is not None and not issued_by(certificate, authority):
        same = certificate.issuer == authority.subject
        detail = f"Its issuer is {certificate.issuer.rfc4514_string()}"
        detail += (
            ", a CA of the same name with another key: it was made anew since, or is another installation's."
            if same
            else "."
        )
        yield found("not-signed-by-ca", file=path, ca_file=edge.ca.path, detail=detail, **facts)


def judge_token(text: str, authority: x509.Certificate | None, now: datetime, *, where: str = "") -> Iterator[Finding]:
    """A join token, ours or KubeEdge's, against the CA it should pin. The token itself is never shown."""
    try:
        token = JoinToken.parse(text)
    except BadToken as error:
        yield found("token-form", detail=f"{error.facts['why']}{f' (in {where})' if where else ''}")
        return
    if authority is not None:
        actual = hashlib.sha256(authority.public_bytes(Encoding.DER)).hexdigest()
        if actual != token.pin:
            yield found("token-other-ca", pin=token.pin, actual=actual)
    jwt = KubeEdgeJwt.parse(token.bearer.reveal())
    if jwt is not None and jwt.expires_at <= now:
        yield found("token-expired", expired_at=jwt.expires_at.isoformat().replace("+00:00", "Z"))


# ------------------------------------------------------------------------------------------------- KubeEdge's Secrets


def judge_secrets(objects: Sequence[Object], path: str, now: datetime) -> Iterator[Finding]:
    """KubeEdge's three Secrets, as many of them as are there, each and against each other."""
    secrets = {
        one.name.rpartition("/")[2]: {field.key: field for field in one.fields}
        for one in objects
        if one.kind == "Secret"
    }
    authority = None
    if "casecret" in secrets:
        authority, finds = _pair(secrets, "casecret", "cadata", "cakeydata", path, now)
        yield from finds
        yield from _signing_key(secrets)
    if "cloudcoresecret" in secrets:
        server, finds = _pair(secrets, "cloudcoresecret", "cloudcoredata", "cloudcorekeydata", path, now)
        yield from finds
        if server is not None:
            yield from _server(server, authority)
    if "tokensecret" in secrets:
        field = secrets["tokensecret"].get("tokendata")
        if field is None or not field.octets:
            yield found(
                "secret-field", name="tokensecret", label="tokendata", detail="it is not there or is not base64"
            )
        else:
            yield from judge_token(field.octets.decode("utf-8", "replace"), authority, now, where="tokensecret")


_Fields = Mapping[str, Mapping[str, object]]


def _octets(secrets: Mapping[str, Mapping[str, object]], name: str, label: str) -> bytes:
    field = secrets[name].get(label)
    return bytes(getattr(field, "octets", b"") or b"")


def _pair(
    secrets: _Fields, name: str, certificate_label: str, key_label: str, path: str, now: datetime
) -> tuple[x509.Certificate | None, list[Finding]]:
    """A Secret's certificate, and what is wrong with it and its key."""
    finds: list[Finding] = []
    certificate: x509.Certificate | None = None
    try:
        certificate = parse.certificate(_octets(secrets, name, certificate_label))
        finds += judge_certificate(certificate, path, now)
    except Unreadable as error:
        finds.append(found("secret-field", name=name, label=certificate_label, detail=str(error)))
    try:
        key = pkcs8.read(_octets(secrets, name, key_label))
        digest = chain.key_digest(key.public_key())
        if certificate is not None and chain.spki_digest(certificate) != digest:
            finds.append(found("key-mismatch", key=f"{name}.{key_label}", cert=f"{name}.{certificate_label}"))
    except EdgewardError as error:
        finds.append(found("secret-field", name=name, label=key_label, detail=str(error)))
    return certificate, finds


def _signing_key(secrets: _Fields) -> Iterator[Finding]:
    der = _octets(secrets, "casecret", "cakeydata")
    try:
        key = pkcs8.read(der)
    except EdgewardError:
        return
    form = key_form(der)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or form != "SEC 1":
        yield found("secret-key-form", detail=f"{keys.describe(key.public_key())} in {form or 'another'} form")


def _server(server: x509.Certificate, authority: x509.Certificate | None) -> Iterator[Finding]:
    if authority is not None and not issued_by(server, authority):
        yield found("secret-other-ca")
    try:
        alternative = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        yield found("no-names", Severity.WARNING, name="any name")
        return
    if "" in alternative.get_values_for_type(x509.DNSName):
        yield found(
            "odd-name",
            odd="an empty DNS name",
            detail='dnsNames is [""], cloudcore\'s default; it harms nobody, and no client matches it.',
        )
    if not alternative.get_values_for_type(x509.IPAddress) and not any(alternative.get_values_for_type(x509.DNSName)):
        yield found("no-names", Severity.WARNING, name="any name")
