"""Errors as RFC 9457 problems: one table from class to status, and the members that a program needs to act on one."""

import msgspec

from edgeward import errors
from edgeward.model.http import Response
from edgeward.web.shapes import Problem

STATUS: dict[type[errors.EdgewardError], int] = {
    errors.UsageError: 400,
    errors.InputError: 400,
    errors.TooLarge: 413,
    errors.Refusal: 403,
    errors.Unauthenticated: 401,
    errors.NotFound: 404,
    errors.AlreadyExists: 409,
    errors.MessageConflict: 409,
    errors.QueueFull: 429,
    errors.Misdirected: 421,
    errors.Unavailable: 503,
    errors.InternalError: 500,
}
"""The answer to each class of failure; a class that is not here has its parent's."""


def status(error: errors.EdgewardError) -> int:
    """The HTTP status for an error: that of its class, or of the nearest parent that has one."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def problem(error: errors.EdgewardError) -> Response:
    """The answer to a request that ended with `error`."""
    body = Problem(
        title=str(error), status=status(error), code=error.code, hint=error.hint, exit_status=error.exit_status
    )
    facts = {name: error.facts[name] for name in error.members}
    more = {name: fact if isinstance(fact, int) else errors.printable(fact) for name, fact in facts.items()}
    return Response(
        status=body.status,
        body=msgspec.json.encode(msgspec.to_builtins(body) | more if more else body),
        content_type="application/problem+json",
    )
