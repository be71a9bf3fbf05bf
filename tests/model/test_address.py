import pytest

from edgeward.model.address import host_of, joined, network_of, same_origin


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("Cloud.example.com:10002", "cloud.example.com"),
        ("cloud.example.com.:10002", "cloud.example.com"),
        ("10.0.0.1:10002", "10.0.0.1"),
        ("[2001:DB8::1]:10002", "2001:db8::1"),
        ("2001:db8::1", ""),
        (" cloud ", "cloud"),
        ("", ""),
    ],
)
def test_the_host_is_found_in_what_was_written(text: str, host: str) -> None:
    assert host_of(text) == host


@pytest.mark.parametrize("host", ["cloud", "10.0.0.1", "2001:db8::1"])
def test_what_was_joined_has_its_host(host: str) -> None:
    assert joined(host, 1).endswith(":1") and host_of(joined(host, 1)) == host


@pytest.mark.parametrize(
    ("origin", "same"),
    [
        ("https://cloud:10010", True),
        ("https://CLOUD:10010", True),
        ("https://cloud:8443", False),
        ("https://cloud", False),
        ("https://evil:10010", False),
        ("null", False),
        ("", False),
        ("https://[", False),
        ("https://cloud:10010@evil", False),
    ],
)
def test_a_page_is_ours_when_host_and_port_are_the_same(origin: str, same: bool) -> None:
    assert same_origin(origin, "cloud:10010") is same


def test_addresses_are_counted_by_network() -> None:
    assert network_of("192.0.2.1") == "192.0.2.1"
    assert network_of("::ffff:192.0.2.1") == "192.0.2.1"
    assert network_of("2001:db8:1:2:3::4") == network_of("2001:db8:1:2::9") == "2001:db8:1:2::/64"
    assert network_of("2001:db8:1:3::9") != network_of("2001:db8:1:2::9")
    assert network_of("fe80::1%eth0") == "fe80::/64"
    assert network_of("") == "" and network_of("a:b") == "a:b"
