"""The OpenAPI document: it is one, it has every route and no other, and what the API answers is what it says."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from tests.support.world import csr
from tests.web.test_api import Desk, b64, story

from edgeward.web.api import ROUTES
from edgeward.web.openapi import OPERATIONS, document, path_of

DOCUMENT = json.loads(msgspec.json.encode(document(ROUTES)))

IMPORTED = {
    ("POST", "/v1/ca/import"),
    ("POST", "/v1/ca/prepare"),
    ("POST", "/v1/ca/activate"),
    ("POST", "/v1/kubeedge/export"),
    ("PUT", "/v1/tokens/standing"),
}
"""What changes the authority itself: `tests.web.test_api`, `test_rotation` and those of its own front-ends call them."""


def test_it_is_a_valid_document() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_it_has_every_route_and_no_other() -> None:
    assert {(method, path_of(pattern)) for method, pattern, _ in ROUTES} == set(OPERATIONS)
    assert {(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods} == set(
        OPERATIONS
    )
    identities = [one["operationId"] for methods in DOCUMENT["paths"].values() for one in methods.values()]
    assert len(set(identities)) == len(identities)
    assert all(
        one["summary"] and not one["summary"].startswith("/")
        for methods in DOCUMENT["paths"].values()
        for one in methods.values()
    )


BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/v1/tokens"): {"node": "edge-5"},
    ("POST", "/v1/revocations"): {"target": "edge-2"},
    ("POST", "/v1/operators"): {"name": "alice", "csr": b64(csr("alice"))},
    ("POST", "/v1/messages"): {
        "node": "edge-1",
        "operation": "update",
        "resource": "default/configmap/x",
        "msg_id": "m-1",
    },
    ("POST", "/v1/certificates"): {"node": "edge-3", "csr": b64(csr("edge-3"))},
    ("PUT", "/v1/advertised"): {"names": ["cloud.example"]},
    ("POST", "/v1/ca/export"): {"with_key": True},
}


def test_every_operation_answers_what_it_says() -> None:
    async def tell(d: Desk) -> None:
        for node in ("edge-1", "edge-2"):
            await d.w.enrol(node)
        _, made = await d.call("POST", "/v1/tokens", {"node": "edge-4"})
        await d.call("POST", "/v1/messages", BODIES["POST", "/v1/messages"])
        for (method, template), operation in sorted(
            OPERATIONS.items(), key=lambda one: (one[0][0] == "DELETE", one[0])
        ):
            if (method, template) in IMPORTED:
                continue
            path = template.format(key_id=made["key_id"], name="edge-1", msg_id="m-1")
            response = await d.respond(method, path, BODIES.get((method, template)))
            assert response.status in operation.answers, (method, path, response.body)
            assert response.content_type == operation.media
            if response.stream is not None:
                await response.stream.aclose()  # type: ignore[attr-defined]
                continue
            decoded = msgspec.json.decode(response.body, type=operation.answers[response.status])
            assert msgspec.json.decode(msgspec.json.encode(decoded)) == msgspec.json.decode(response.body), path

    story(tell)


@pytest.mark.parametrize("named", sorted(DOCUMENT["components"]["schemas"]))
def test_every_schema_says_what_it_is(named: str) -> None:
    assert (
        DOCUMENT["components"]["schemas"][named].get("description")
        or "enum" in DOCUMENT["components"]["schemas"][named]
    )


def test_the_page_has_every_route() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "api.md").read_text()
    shown = {
        (method, re.sub(r"NAME|KEY_ID|ID", "{}", path.partition("?")[0]))
        for methods, path in re.findall(r"`((?:GET|POST|PUT|DELETE)(?:`, `\w+)*) (/v1/[^\s`]*)`", page)
        for method in methods.split("`, `")
    }
    assert shown == {(method, re.sub(r"{\w+}", "{}", path)) for method, path in OPERATIONS}
