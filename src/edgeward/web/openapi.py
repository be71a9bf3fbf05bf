"""The API's OpenAPI 3.1 document, made of its table of routes and of the values that it takes and answers.

The document is at `/v1/openapi.json`. `OPERATIONS` has a line for each route; a test fails when one is missing, and another one calls each.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

import edgeward
from edgeward.web.shapes import (
    CA,
    Advertised,
    AuditRecord,
    Cancelled,
    Export,
    Exported,
    Moment,
    Names,
    NewCertificate,
    NewMessage,
    NewOperator,
    NewToken,
    Node,
    Operator,
    OperatorMade,
    Problem,
    Readvertised,
    Receipt,
    Revocation,
    Sent,
    Signed,
    Token,
    TokenMade,
    TokenRevoked,
    TokenUse,
    Waiting,
)

Routes = Sequence[tuple[str, str, Callable[..., Any]]]

Facts = dict[str, Any]
"""An answer without a schema of its own: an object."""

STREAM_FILTERS = {
    "type": "message, presence, delivery; several with commas between them",
    "node": "pattern",
    "group": "pattern",
    "resource": "pattern; `*` matches slashes, too",
    "operation": "pattern",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What a route takes and answers: `answers` from status to type, `query` from name to meaning."""

    answers: Mapping[int, Any]
    body: Any = None
    query: Mapping[str, str] = field(default_factory=dict)
    media: str = "application/json"


OPERATIONS: dict[tuple[str, str], Operation] = {
    ("GET", "/v1/status"): Operation(answers={200: Facts}),
    ("GET", "/v1/nodes"): Operation(answers={200: list[Node]}),
    ("GET", "/v1/nodes/{name}"): Operation(answers={200: Node}),
    ("GET", "/v1/nodes/{name}/timeline"): Operation(answers={200: list[Moment]}),
    ("POST", "/v1/tokens"): Operation(body=NewToken, answers={201: TokenMade}),
    ("GET", "/v1/tokens"): Operation(answers={200: list[Token]}),
    ("GET", "/v1/tokens/{key_id}/uses"): Operation(answers={200: list[TokenUse]}),
    ("POST", "/v1/tokens/{key_id}/revoke"): Operation(answers={200: TokenRevoked}),
    ("PUT", "/v1/tokens/standing"): Operation(body=Facts, answers={200: Facts}),
    ("GET", "/v1/tokens/standing"): Operation(answers={200: list[Facts]}),
    ("POST", "/v1/revocations"): Operation(body=Facts, answers={200: Revocation}),
    ("POST", "/v1/operators"): Operation(body=NewOperator, answers={201: OperatorMade}),
    ("GET", "/v1/operators"): Operation(answers={200: list[Operator]}),
    ("POST", "/v1/messages"): Operation(body=NewMessage, answers={200: Sent, 202: Sent}),
    ("GET", "/v1/messages"): Operation(answers={200: str}, query=STREAM_FILTERS, media="application/x-ndjson"),
    ("GET", "/v1/messages/{msg_id}"): Operation(answers={200: Receipt}),
    ("DELETE", "/v1/messages/{msg_id}"): Operation(answers={200: Cancelled}),
    ("GET", "/v1/events"): Operation(
        answers={200: str},
        query=STREAM_FILTERS | {"after": "the id of the last event; or the header Last-Event-ID"},
        media="text/event-stream",
    ),
    ("GET", "/v1/queues"): Operation(answers={200: list[Waiting]}),
    ("GET", "/v1/receipts"): Operation(
        answers={200: list[Receipt]},
        query={"node": "a name", "live": "1: only those that wait", "before": "a number", "limit": "up to 1000"},
    ),
    ("GET", "/v1/ca"): Operation(answers={200: CA}),
    ("POST", "/v1/ca/import"): Operation(body=Facts, answers={200: Facts}),
    ("POST", "/v1/ca/export"): Operation(body=Export, answers={200: Exported}),
    ("POST", "/v1/ca/prepare"): Operation(body=Facts, answers={201: Facts}),
    ("POST", "/v1/ca/activate"): Operation(body=Facts, answers={200: Facts}),
    ("GET", "/v1/ca/trust"): Operation(answers={200: Facts}),
    ("GET", "/v1/kubeedge"): Operation(answers={200: Facts}),
    ("POST", "/v1/kubeedge/export"): Operation(body=Facts, answers={200: Facts}),
    ("POST", "/v1/certificates"): Operation(body=NewCertificate, answers={201: Signed}),
    ("GET", "/v1/advertised"): Operation(answers={200: Advertised}),
    ("PUT", "/v1/advertised"): Operation(body=Names, answers={200: Readvertised}),
    ("GET", "/v1/audit"): Operation(answers={200: list[AuditRecord]}, query={"after": "a record's number"}),
    ("GET", "/v1/failures"): Operation(
        answers={200: list[Facts]},
        query={"node": "a name", "address": "an IP address", "since": "RFC 3339", "limit": "up to 1000"},
    ),
    ("GET", "/v1/doctor"): Operation(answers={200: Facts}),
    ("GET", "/v1/openapi.json"): Operation(answers={200: Facts}),
}

_PARAMETERS = {"key_id": "a token's key id", "name": "a node's name", "msg_id": "a message's id"}
_GROUPS = (("([0-9a-f]{16})", "{key_id}"), ("([^/]{1,253})", "{name}"))


def path_of(pattern: str) -> str:
    """The path template of a route's pattern."""
    for group, parameter in _GROUPS:
        pattern = pattern.replace(group, parameter)
    return re.sub(r"\(.*\)", "{msg_id}", pattern)


def document(routes: Routes) -> dict[str, Any]:
    """The document of these routes."""
    types = {Problem}
    for operation in OPERATIONS.values():
        types |= {kind for kind in (operation.body, *operation.answers.values()) if kind is not None}
    ordered = sorted(types, key=repr)
    schemas, components = msgspec.json.schema_components(ordered, ref_template="#/components/schemas/{name}")
    schema = dict(zip(map(repr, ordered), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for method, pattern, answer in routes:
        path = path_of(pattern)
        shown = _operation(path, method, OPERATIONS[method, path], schema, answer.__doc__ or "")
        paths.setdefault(path, {})[method.lower()] = shown
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Edgeward",
            "version": edgeward.__version__,
            "description": "The administrative API: on the Unix socket of the data directory, and over mutual TLS for operators.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "https://localhost:10010"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"operator": {"type": "mutualTLS", "description": "an operator's certificate"}},
        },
        "security": [{"operator": []}],
    }


def _operation(path: str, method: str, operation: Operation, schema: Mapping[str, Any], words: str) -> dict[str, Any]:
    answers = {
        str(status): {
            "description": "as asked" if status != 202 else "taken, and on its way",
            "content": {operation.media: {"schema": schema[repr(kind)]}},
        }
        for status, kind in operation.answers.items()
    }
    answers["default"] = {
        "description": "an RFC 9457 problem",
        "content": {"application/problem+json": {"schema": schema[repr(Problem)]}},
    }
    words = re.sub(r"^`[^`]*`: ", "", " ".join(words.split()))
    shown: dict[str, Any] = {
        "operationId": re.sub(
            r"[^a-z0-9]+", "_", f"{method.lower()}_{path.removeprefix('/v1/').replace('{', 'by_')}"
        ).strip("_"),
        "summary": words.partition(". ")[0].rstrip(".") or path,
        "responses": answers,
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "description": _PARAMETERS[name], "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", path)
    ] + [
        {"name": name, "in": "query", "description": meaning, "schema": {"type": "string"}}
        for name, meaning in operation.query.items()
    ]
    if parameters:
        shown["parameters"] = parameters
    if operation.body is not None:
        shown["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema[repr(operation.body)]}},
        }
    return shown
