"""KubeEdge's enrolment routes: what is evidence, what is asked wrongly, and how each failure is said."""

import asyncio
import inspect
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edgeward import errors
from edgeward.errors import (
    Busy,
    CertificateRefused,
    EdgewardError,
    InternalError,
    NodeBlocked,
    NoEvidence,
    NotConforming,
    TokenSpent,
    TooLarge,
    Unauthenticated,
    Unreadable,
)
from edgeward.model.evidence import CertificateEvidence, Enrolment, TokenEvidence
from edgeward.model.http import Request, Response
from edgeward.protocols.kubeedge.answers import STATUS, failure, status_of
from edgeward.protocols.kubeedge.routes import routes

NOW = datetime(2026, 11, 23, tzinfo=UTC)
BEARER = "0123456789abcdef.-.c2VjcmV0"


def short(value: object) -> str:
    """A name for a parameter that may be a megabyte."""
    return ascii(value)[:30]


def csr(*names: tuple[x509.ObjectIdentifier, str]) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in names])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.DER)


REAL = csr((NameOID.ORGANIZATION_NAME, "system:nodes"), (NameOID.COMMON_NAME, "system:node:edge-1"))


def ask(
    target: str = "/edge.crt",
    method: str = "GET",
    body: bytes = REAL,
    certificate: bytes | None = None,
    fails: Exception | None = None,
    **headers: str | tuple[str, ...],
) -> tuple[Response, list[Enrolment]]:
    """The answer, and what the registrar was asked. Header names are written with `_` for `-`."""
    asked: list[Enrolment] = []

    async def enrol(enrolment: Enrolment) -> bytes:
        asked.append(enrolment)
        if fails is not None:
            raise fails
        return b"a certificate"

    request = Request(
        method=method,
        target=target,
        headers={n.replace("_", "-"): (v,) if isinstance(v, str) else v for n, v in headers.items()},
        body=body,
        address="192.0.2.7",
        at=NOW,
        peer_certificate=certificate,
    )
    respond = routes(enrol, lambda: b"the authority")

    async def main() -> Response:
        return await respond(request)

    return asyncio.run(main()), asked


def test_anybody_gets_the_authority() -> None:
    for target in ("/ca.crt", "/ca.crt?x=1"):
        answer, asked = ask(target)
        assert (answer.status, answer.body, answer.content_type) == (200, b"the authority", "application/octet-stream")
        assert not asked


def test_a_token_is_evidence() -> None:
    answer, (enrolment,) = ask(authorization=f"Bearer {BEARER}", nodename="edge-1")
    assert (answer.status, answer.body, answer.content_type) == (200, b"a certificate", "application/octet-stream")
    assert isinstance(enrolment.evidence, TokenEvidence)
    assert enrolment.evidence.bearer.reveal() == BEARER and BEARER not in repr(enrolment)
    assert (enrolment.node, enrolment.csr, enrolment.address, enrolment.at) == ("edge-1", REAL, "192.0.2.7", NOW)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "Anything"])
def test_the_scheme_is_not_looked_at(scheme: str) -> None:
    assert ask(authorization=f"{scheme} {BEARER}", nodename="edge-1")[0].status == 200


def test_a_client_certificate_is_evidence_and_a_token_beside_it_is_ignored() -> None:
    _, (enrolment,) = ask(certificate=b"der", authorization=f"Bearer {BEARER}", nodename="edge-1")
    assert enrolment.evidence == CertificateEvidence(der=b"der")
    _, (enrolment,) = ask(certificate=b"der", authorization="nonsense", nodename="edge-1")
    assert enrolment.evidence == CertificateEvidence(der=b"der")


@pytest.mark.parametrize("value", [BEARER, f"Bearer  {BEARER}", f"Bearer {BEARER} more", "Bearer"])
def test_t18_an_authorization_that_cannot_be_taken_apart_is_like_a_wrong_token(value: str) -> None:
    answer, asked = ask(authorization=value, nodename="edge-1")
    assert answer == failure(Unauthenticated()) and answer.status == 401 and not asked


def test_nothing_shown_is_401_with_what_to_show() -> None:
    for more in ({}, {"authorization": ""}, {"authorization": " "}):
        answer, asked = ask(nodename="edge-1", **more)
        assert answer == failure(NoEvidence()) and answer.status == 401 and not asked
        assert b"no token" in answer.body and b"hint: send `Authorization: Bearer" in answer.body


def test_a_request_without_a_node_name_is_for_the_node_of_its_csr() -> None:
    _, (enrolment,) = ask(authorization=f"Bearer {BEARER}")
    assert enrolment.node == "edge-1"


@pytest.mark.parametrize(
    "body",
    [b"", b"nonsense", csr((NameOID.COMMON_NAME, "edge-1")), csr((NameOID.COMMON_NAME, "system:node:edge-1"))],
)
def test_no_node_name_anywhere_is_400(body: bytes) -> None:
    answer, asked = ask(authorization=f"Bearer {BEARER}", body=body)
    assert answer.status == 400 and not asked


@pytest.mark.parametrize(
    "name",
    ["../../etc/x", "a/b", ".", "%2e%2e", "CON", "a\nb", "x" * 53, "x" * 10_000, "ünode", "a..b", "-a", "a b"],
    ids=short,
)
def test_t09_node_names_are_checked_before_anything_else_sees_them(name: str) -> None:
    answer, asked = ask(authorization=f"Bearer {BEARER}", nodename=name)
    assert answer.status == 400 and not asked and b"is not a node name" in answer.body
    assert len(answer.body) < 1000 and answer.body.count(b"\n") <= 2


@pytest.mark.parametrize("value", ["", "[2]", " [2] ", "[ 2 ]"])
def test_t05_client_auth_may_be_asked_for(value: str) -> None:
    assert ask(authorization=f"Bearer {BEARER}", nodename="edge-1", extkeyusages=value)[0].status == 200


@pytest.mark.parametrize(
    "value",
    [
        *(
            "[1]",
            "[0]",
            "[]",
            "[3,9]",
            "[2,2]",
            "[2,1]",
            '["x"]',
            "2",
            "null",
            "{}",
            "[2",
            "nonsense",
            "[true]",
            "[-2]",
        ),
        *("[" + "2," * 500_000 + "2]", "[" * 100_000, "[2" + " " * 1000 + "]", "[999999999999999999999999]"),
    ],
    ids=short,
)
def test_t05_any_other_purpose_is_refused(value: str) -> None:
    answer, asked = ask(authorization=f"Bearer {BEARER}", nodename="edge-1", extkeyusages=value)
    assert answer.status == 400 and not asked and b"clientAuth" in answer.body


@pytest.mark.parametrize("header", ["authorization", "nodename", "extkeyusages"])
def test_a_header_that_is_there_twice_is_refused(header: str) -> None:
    headers: dict[str, str | tuple[str, ...]] = {"authorization": f"Bearer {BEARER}", "nodename": "edge-1"}
    headers[header] = (str(headers.get(header, "[2]")), str(headers.get(header, "[2]")))
    answer, asked = ask(**headers)  # type: ignore[arg-type]
    assert answer.status == 400 and not asked and b"2 times" in answer.body


@pytest.mark.parametrize("target", ["/node/edge-1", "/node/unknown", "/node/%2e%2e", "/node/" + "x" * 5000], ids=short)
def test_every_node_is_unknown(target: str) -> None:
    answer, _ = ask(target)
    assert (answer.status, answer.body) == (404, b"Node not found")


@pytest.mark.parametrize(
    "target", ["/", "", "/node/", "/node/a/b", "/edge.crt/", "//edge.crt", "/EDGE.CRT", "/readyz", "*"]
)
def test_t22_other_paths_do_not_exist(target: str) -> None:
    for method in ("GET", "POST"):
        answer, asked = ask(target, method=method)
        assert (answer.status, answer.body) == (404, b"404: Page Not Found") and not asked


@pytest.mark.parametrize("target", ["/ca.crt", "/edge.crt", "/node/a"])
@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "get"])
def test_t22_other_methods_are_refused(target: str, method: str) -> None:
    answer, asked = ask(target, method=method, authorization=f"Bearer {BEARER}", nodename="edge-1")
    assert (answer.status, answer.body) == (405, b"405: Method Not Allowed") and not asked
    assert answer.headers == (("Allow", "GET"),)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Unauthenticated(), 401),
        (CertificateRefused(why="it expired"), 401),
        (TokenSpent(uses=1), 403),
        (NodeBlocked(node="edge-1", why="keyCompromise"), 403),
        (Unreadable(what="certificate request", why="x"), 400),
        (TooLarge(what="the request", limit=5), 413),
        (Busy(what="x"), 503),
    ],
)
def test_a_refusal_is_its_sentence_and_its_hint(error: EdgewardError, status: int) -> None:
    answer, _ = ask(authorization=f"Bearer {BEARER}", nodename="edge-1", fails=error)
    assert answer.status == status and answer.content_type == "text/plain; charset=utf-8"
    assert answer.body.decode() == (f"{error}\nhint: {error.hint}\n" if error.hint else f"{error}\n")
    assert (("Retry-After", "5") in answer.headers) == (status == 503)


@pytest.mark.parametrize("error", [NotConforming(differences="serial"), InternalError(problem="x"), KeyError("x")])
def test_errors_of_ours_are_left_to_the_transport(error: Exception) -> None:
    with pytest.raises(type(error)):
        ask(authorization=f"Bearer {BEARER}", nodename="edge-1", fails=error)


def test_every_class_of_the_tree_has_a_status() -> None:
    branches: dict[type[EdgewardError], Callable[[int], bool]] = {
        errors.UsageError: lambda s: s == 400,
        errors.InputError: lambda s: s in (400, 413),
        errors.Refusal: lambda s: s in (401, 403, 404, 409),
        errors.Unavailable: lambda s: s == 503,
        errors.InternalError: lambda s: s == 500,
    }
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, EdgewardError)]
    assert len(classes) > 30 and set(STATUS) <= set(classes)
    for each in classes:
        (fits,) = [rule for branch, rule in branches.items() if issubclass(each, branch)] or [lambda s: s == 500]
        assert fits(status_of(each)), each
