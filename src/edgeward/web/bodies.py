"""What the administrative API's answers have in common: strict request bodies, JSON answers, who asks."""

import base64
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec

from edgeward.errors import BadRequest
from edgeward.model.http import Request, Response
from edgeward.web.shapes import Strict

__all__ = ["Strict", "actor", "body", "json", "octets", "query", "whole"]

_Body = TypeVar("_Body")


def body(request: Request, kind: type[_Body]) -> _Body:
    """The body of `request` as a `kind`. Raises `BadRequest`: the caller's fault."""
    try:
        return msgspec.json.decode(request.body or b"{}", type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise BadRequest(why=str(error)) from error


def json(value: Any, status: int = 200) -> Response:
    """`value` as the answer."""
    return Response(status=status, body=msgspec.json.encode(value), content_type="application/json")


def octets(text: str, what: str) -> bytes:
    """The octets in a base64 member. Raises `BadRequest`."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise BadRequest(why=f"{what} is not base64") from error


def query(request: Request, allowed: frozenset[str]) -> dict[str, str]:
    """The query of `request`: each of the `allowed` members at most once. Raises `BadRequest` for any other."""
    asked: dict[str, str] = {}
    try:
        members = parse_qsl(request.target.partition("?")[2], keep_blank_values=True, max_num_fields=64)
    except ValueError as error:
        raise BadRequest(why="the query has more than 64 members") from error
    for name, value in members:
        if name not in allowed or name in asked:
            raise BadRequest(
                why=f"the query has {name!r}; what may be there, once each, is {', '.join(sorted(allowed))}"
            )
        asked[name] = value
    return asked


def whole(asked: dict[str, str], name: str, default: int, most: int) -> int:
    """A whole number of a query, `default` when it is not there. Raises `BadRequest`."""
    text = asked.get(name, str(default))
    if not text.isascii() or not text.isdecimal() or len(text) > 19 or int(text) > most:
        raise BadRequest(why=f"{name} is a whole number up to {most}")
    return int(text)


def actor(request: Request) -> str:
    """Who asks, as the audit log names them."""
    return request.actor or "operator:socket"
