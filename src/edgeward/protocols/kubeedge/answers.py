"""How a failure is said to an edge: one table from the classes of the tree of failures to HTTP statuses, and the text of the body."""

from edgeward.errors import (
    AlreadyExists,
    CertificateRefused,
    EdgewardError,
    InputError,
    NotFound,
    Refusal,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UsageError,
)
from edgeward.model.http import Response, text

STATUS: dict[type[EdgewardError], int] = {
    UsageError: 400,
    InputError: 400,
    TooLarge: 413,
    Refusal: 403,
    Unauthenticated: 401,
    CertificateRefused: 401,
    NotFound: 404,
    AlreadyExists: 409,
    Unavailable: 503,
    EdgewardError: 500,
}
"""A class that is not here answers as its nearest ancestor does. KubeEdge answers 401 for its tokens and certificates too, and 500
where we answer 400; an edge takes anything but 200 as a failure and tries again."""

RETRY_AFTER = "5"
"""Seconds. An edge's own pauses are 2 to 32 s."""


def status_of(kind: type[EdgewardError]) -> int:
    """The status for a class of failures."""
    return next(STATUS[each] for each in kind.__mro__ if each in STATUS)


def failure(error: EdgewardError) -> Response:
    """What an edge is told: the sentence, and below it what to do about it."""
    status = status_of(type(error))
    hint = error.hint
    body = f"{error}\nhint: {hint}\n" if hint else f"{error}\n"
    return text(status, body, ("Retry-After", RETRY_AFTER)) if status == 503 else text(status, body)
