"""What an edge says to its hub: signs of life, and an acknowledgement for each resource it is sent. Pure."""

from datetime import datetime

from msgspec import Raw

from edgeward.model import message
from edgeward.model.message import Message

_OK = Raw(b'"OK"')

_ACKNOWLEDGED_GROUPS = frozenset({"resource", "func"})
"""The groups of messages for a node's own objects; a hub sends one of them again every 5 s until it hears of it (kubeedge-wire 6.2)."""

_NEVER_ACKNOWLEDGED = frozenset({message.RESPONSE, message.ERROR, "keepalive"})
"""To answer an answer would never end."""


def acknowledgement(received: Message, *, msg_id: str, now: datetime) -> Message | None:
    """The answer that a real edge's MetaManager gives to `received`; None when none is expected."""
    if (
        received.group not in _ACKNOWLEDGED_GROUPS
        or received.operation in _NEVER_ACKNOWLEDGED
        or received.parent_msg_id
        or not received.msg_id
    ):
        return None
    return message.response_to(received, _OK, msg_id=msg_id, now=now)
