"""What the hub writes on the side, when much happens within one moment of it."""

import asyncio
import contextlib

from edgeward.hub.presence import Presence
from edgeward.model.authority import Reason
from tests.support.edges import CAUSE, enrol, new_store, now


def test_the_first_connection_of_a_certificate_is_recorded_though_that_of_a_revoked_one_waits_as_well():
    async def scene():
        store = await new_store()
        presence = Presence(store, lambda: 0.0)
        old = await enrol(store, "edge-1")
        presence.connected("edge-1", now(), "", first=(old.issuer_id, old.serial))
        await store.revoke([old.serial], now(), Reason.UNSPECIFIED, CAUSE)
        new = await enrol(store, "edge-1", 2)
        presence.connected("edge-1", now(), "", first=(new.issuer_id, new.serial))
        await presence.drain()
        found = [await store.certificate(one.fingerprint) for one in (old, new)]
        await store.close()
        return found

    old, new = asyncio.run(scene())
    assert old.connected_at is None
    assert new.connected_at is not None


def test_who_stops_waiting_for_what_is_written_leaves_the_gathering_as_it_was():
    async def scene():
        store = await new_store()
        await enrol(store, "edge-1")
        presence = Presence(store, lambda: 0.0)
        presence.connected("edge-1", now(), "")
        waiting = asyncio.create_task(presence.written())
        await asyncio.sleep(0)
        hurried = presence._at_once.is_set()
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
        hurries = presence._at_once.is_set()
        await presence.drain()
        await store.close()
        return hurried, hurries

    assert asyncio.run(scene()) == (True, False)
