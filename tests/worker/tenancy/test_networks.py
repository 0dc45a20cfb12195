"""Network addresses: what is kept of one, and whose word counts on who asks."""

from ipaddress import ip_network

import pytest

from worker.tenancy import networks

TRUSTED = [ip_network("10.0.0.0/8"), ip_network("::1")]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2:3::4", "2001:db8:1::/48"),
        ("::ffff:192.0.2.77", "192.0.2.0/24"),
        ("fe80::1%eth0", "fe80::/48"),
        ("", "unknown"),
        ("not an address", "unknown"),
    ],
)
def test_of_an_address_its_network_is_kept(address, network):
    assert networks.shortened(address) == network


@pytest.mark.parametrize(
    ("remote", "forwarded", "client"),
    [
        ("192.0.2.7", ["198.51.100.1"], "192.0.2.7"),  # who is no proxy of ours says nothing
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.9", "198.51.100.1", "10.0.0.2"], "198.51.100.1"),  # forged first
        ("::1", [" 198.51.100.1 "], "198.51.100.1"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
    ],
)
def test_a_forwarded_address_counts_as_far_as_trusted_proxies_wrote_it(remote, forwarded, client):
    assert networks.client(remote, forwarded, TRUSTED) == client
