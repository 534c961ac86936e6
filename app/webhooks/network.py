"""Where a webhook may lead: public addresses, and those that the operator allows.

A name is resolved once for each connection, what it resolves to is checked, and exactly that address is connected to.
So a name that leads elsewhere a moment later (DNS rebinding) changes nothing.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Iterator

import httpcore

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Awaitable[list[str]]]

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NOT_PUBLIC = (
    ipaddress.IPv4Network("168.63.129.16/32"),  # Azure's metadata, among the public addresses
    ipaddress.IPv4Network("192.0.0.0/24"),  # protocol assignments (RFC 6890), Oracle's metadata among them
)


class ForbiddenAddress(Exception):
    """The address is not public, and the operator does not allow it."""


class Guard:
    """Knows which addresses may be connected to."""

    def __init__(self, allowed: Iterable[Network] = ()) -> None:
        self.allowed = tuple(allowed)

    def permits(self, address: Address) -> bool:
        if any(address in network for network in self.allowed):
            return True
        return all(_is_public(found) for found in _all_in(address))

    def permits_host(self, host: str) -> bool:
        """What can be said of a host without asking anyone: False for an address that is not permitted."""
        try:
            return self.permits(ipaddress.ip_address(host.strip("[]")))
        except ValueError:
            return bool(self.allowed) or ("." in host.strip(".") and not host.rstrip(".").endswith(".localhost"))


def _is_public(address: Address) -> bool:
    if any(address in network for network in _NOT_PUBLIC):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _all_in(address: Address) -> Iterator[Address]:
    """The address, and the IPv4 addresses that an IPv6 one stands for."""
    yield address
    if isinstance(address, ipaddress.IPv6Address):
        yield from (found for found in (address.ipv4_mapped, address.sixtofour) if found is not None)
        yield from address.teredo or ()
        if address in _NAT64:
            yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name, in the system's order. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


class GuardedNetwork(httpcore.AsyncNetworkBackend):
    """Opens connections to permitted addresses only."""

    def __init__(self, guard: Guard, resolve: Resolve = resolve) -> None:
        self._guard = guard
        self._resolve = resolve
        self._real = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Raises ForbiddenAddress, httpcore.ConnectError."""
        address = await self._permitted(host, port)
        return await self._real.connect_tcp(address, port, timeout, local_address, socket_options)

    async def _permitted(self, host: str, port: int) -> str:
        try:
            found = await self._resolve(host, port)
        except OSError as error:
            raise httpcore.ConnectError(f"the name cannot be resolved: {error.strerror}") from error
        for address in found:
            if self._guard.permits(ipaddress.ip_address(address.partition("%")[0])):
                return address
        raise ForbiddenAddress(ForbiddenAddress.__doc__)
