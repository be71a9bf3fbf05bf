"""The API by which the CA is replaced."""

from tests.web.test_api import Desk, story


def test_a_ca_is_prepared_once_then_activated_once_and_the_old_one_stays_trusted() -> None:
    async def tell(d: Desk) -> None:
        _, before = await d.call("GET", "/v1/ca/trust")
        assert (before["state"], before["bundle"], before["anchors"], before["behind"]) == ("active", 1, 1, [])
        status, refused = await d.call("POST", "/v1/ca/activate", {})
        assert (status, refused["code"], refused["title"]) == (
            404,
            "nothing-prepared",
            "no CA is prepared to take over",
        )
        assert refused["hint"].endswith(": edgeward ca rotate")
        status, prepared = await d.call("POST", "/v1/ca/prepare", {"name": "The Next"})
        assert (status, prepared["state"], prepared["bundle"], prepared["anchors"]) == (201, "prepared", 2, 2)
        assert (await d.call("POST", "/v1/ca/prepare", {"name": "Another"}))[0] == 409
        assert (await d.call("GET", "/v1/ca"))[1]["pin"] == before["pin"], "nothing is signed with it yet"
        status, active = await d.call("POST", "/v1/ca/activate", {})
        assert (status, active["state"], active["pin"], active["bundle"]) == (200, "active", prepared["pin"], 2)
        assert (await d.call("GET", "/v1/ca"))[1]["pin"] == prepared["pin"]
        actions = [record["action"] for record in (await d.call("GET", "/v1/audit"))[1]]
        assert [a for a in actions if a.startswith(("ca.", "trust."))] == [
            "ca.created", "trust.changed", "ca.prepared", "trust.changed", "ca.activated",
        ]  # fmt: skip

    story(tell)
