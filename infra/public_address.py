"""Which IP addresses belong to the public internet, however they are written."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network

Address = IPv4Address | IPv6Address

# Clouds answer virtual machines at these; the others lie in ranges that are special anyway.
_METADATA = {IPv4Address("168.63.129.16"), IPv4Address("169.254.169.254")}
_NAT64 = IPv6Network("64:ff9b::/96")
# Special ranges that `is_global` of some Python versions lets pass: one cloud's metadata are at 192.0.0.192.
_NEVER = [
    ip_network(each)
    for each in ("::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "fec0::/10", "3fff::/20", "5f00::/16",
                 "192.0.0.0/24", "192.88.99.0/24")
]  # fmt: skip


def is_public(address: Address) -> bool:
    """False for loopback, private, link-local, shared, multicast and reserved ones, also where IPv6 wraps them."""
    wrapped = _wrapped(address)
    if wrapped is not None:
        return is_public(wrapped)
    special = address.is_multicast or address.is_reserved or address.is_unspecified or address in _METADATA
    return address.is_global and not special and not any(address in network for network in _NEVER)


def _wrapped(address: Address) -> IPv4Address | None:
    """The IPv4 address that a packet to this one would reach by translation or a tunnel."""
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
