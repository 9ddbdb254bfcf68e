"""Which addresses a request may go to, and what a name leads to.

A name is looked up by us, checked, and handed to libcurl; the address of each connection is
checked again as its socket is opened, so that nothing between the two opens a door.
"""

import functools
import socket
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

# `is_global` lets these through on Python 3.11, yet they lead inside: clouds' metadata services
# (Alibaba's, Azure's, Oracle's), IPv6 forms that hide an IPv4 address, networks with no public use.
_REFUSED = """100.64.0.0/10 168.63.129.16/32 192.0.0.0/24 192.88.99.0/24 ::/8 64:ff9b::/96
    64:ff9b:1::/48 2001::/32 2002::/16 3fff::/20 5f00::/16 fec0::/10"""
_REFUSED_NETWORKS = tuple(ip_network(network) for network in _REFUSED.split())


@dataclass(frozen=True, slots=True)
class AddressGuard:
    """Which addresses a request may go to: public ones, and those that the operator allows."""

    allowed_networks: tuple[IPv4Network | IPv6Network, ...] = ()

    def permits(self, address: str) -> bool:
        """For a numeric address, as the resolver gives it; nothing else is permitted."""
        try:
            given = ip_address(address)
        except ValueError:
            return False
        ip = getattr(given, "ipv4_mapped", None) or given
        if any(ip in network or given in network for network in self.allowed_networks):
            return True
        refused = any(ip in network for network in _REFUSED_NETWORKS)
        return ip.is_global and not (ip.is_multicast or ip.is_reserved or refused)


def refused_addresses(url_host: str, port: int, guard: AddressGuard) -> list[str]:
    """The host's addresses that the guard does not permit, to tell a person early; they may differ
    by the time of a request. Raises OSError when the name does not resolve."""
    # Resolvers differ on whether "localhost." and "127.0.0.1." are anything: asked without the dot.
    try:
        found = look_up(url_host.strip("[]").removesuffix("."), port)
    except ValueError as error:
        raise socket.gaierror(socket.EAI_NONAME, "this is no host name") from error
    return [address for address in found if not guard.permits(address)]


def look_up(host: str, port: int) -> list[str]:
    """The name's numeric addresses, each once. OSError when there are none, ValueError when it
    can be no name. Takes as long as the resolver takes."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


@functools.lru_cache(maxsize=1024)
def is_numeric(host: str) -> bool:
    """Whether it is an address already, as it would be looked up."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
