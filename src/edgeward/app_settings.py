"""The part of the composition root that turns the configuration into what the hub takes."""

from datetime import timedelta

from edgeward import config
from edgeward.hub import courier, serve
from edgeward.model.delivery import Bounds


def hub(section: config.HubSection) -> serve.Settings:
    """`[hub]`."""
    return serve.Settings(
        nodes=section.node_limit,
        keepalive=section.keepalive_seconds,
        rate=section.messages_per_second,
        burst=2 * section.messages_per_second,
    )


def delivery(section: config.Delivery, largest: int) -> courier.Settings:
    """`[delivery]`; `largest`: octets of one message."""
    return courier.Settings(
        bounds=Bounds(messages=section.queue_messages, octets=section.queue_octets),
        lifetime=timedelta(hours=section.lifetime_hours),
        retry=section.retry_seconds,
        sends=section.sends,
        receipts_for=timedelta(hours=section.receipt_hours),
        receipts=section.receipts,
        largest=largest,
    )
