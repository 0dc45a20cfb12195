"""Network addresses: shortened where they are kept, and read behind proxies that are trusted."""

import ipaddress
from collections.abc import Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

KEPT_BITS = {4: 24, 6: 48}  # what is kept of an address tells a network, not a person
UNKNOWN = "unknown"


def shortened(address: str) -> str:
    """Give the network of an address: `192.0.2.7` is of `192.0.2.0/24`."""
    found = parsed(address)
    if found is None:
        return UNKNOWN
    return str(ipaddress.ip_network((found, KEPT_BITS[found.version]), strict=False))


def client(remote: str, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
    """Give the address of who asks: what the last proxy that is trusted says, else who is connected.

    `forwarded` is what X-Forwarded-For says, the nearest proxy's entry last. Everybody can send that
    header, so an entry counts only where a trusted proxy wrote it.
    """
    nearest = remote
    for said in reversed(forwarded):
        here, told = parsed(nearest), parsed(said)
        if here is None or told is None or not any(here in network for network in trusted):
            break
        nearest = str(told)
    return nearest


def parsed(address: str) -> Address | None:
    """Read an address; None if it is none. An IPv4 address that is written as IPv6 is an IPv4 one."""
    try:
        found = ipaddress.ip_address(address.strip().partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
