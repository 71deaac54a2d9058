"""The way to a server: through which proxy, and which certificates count."""

import ipaddress
import os
import ssl
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies_environment

from opencharacter.errors import UserError

_DEFAULT_PORTS = {"http": 80, "https": 443}


def proxy_for(url: str) -> str | None:
    """The proxy to `url` by HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, in either case; none: a direct connection.

    A server on this machine is never reached through a proxy. Raises `UserError` for a proxy that is no HTTP proxy.
    """
    target = urlsplit(url)
    variables = getproxies_environment()
    scheme = next((name for name in (target.scheme, "all") if variables.get(name)), None)
    if scheme is None or is_loopback(target.hostname) or _is_excepted(target, variables.get("no", "")):
        return None
    proxy = variables[scheme]
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    if urlsplit(proxy).scheme not in _DEFAULT_PORTS:
        raise UserError(
            f"{scheme.upper()}_PROXY names a {urlsplit(proxy).scheme} proxy; expected one that begins with http://",
            hint=f"give an HTTP proxy, or add {target.hostname} to NO_PROXY",
        )
    return proxy


def tls_context() -> ssl.SSLContext:
    """Certificates of SSL_CERT_FILE or SSL_CERT_DIR; where neither is set, those that certifi brings."""
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if file:
        return ssl.create_default_context(cafile=file)
    if folder:
        return ssl.create_default_context(capath=folder)
    import certifi

    return ssl.create_default_context(cafile=certifi.where())


def is_loopback(host: str | None) -> bool:
    """Whether a host name or address is this machine's own."""
    address = _address(host or "")
    return host == "localhost" or (address is not None and address.is_loopback)


def _is_excepted(target: SplitResult, no_proxy: str) -> bool:
    """Whether NO_PROXY holds the host: `*`, its name or address, a domain it is in, a range of addresses; or any of
    these with its port or scheme."""
    host = (target.hostname or "").rstrip(".")
    port = target.port or _DEFAULT_PORTS.get(target.scheme)
    address = _address(host)
    for entry in no_proxy.lower().replace(",", " ").split():
        scheme, separator, rest = entry.rpartition("://")
        if separator and scheme not in {"all", target.scheme}:
            continue
        if rest == "*" or (address is not None and _in_range(address, rest)):
            return True
        name, colon, number = rest.rpartition(":")
        if not colon or not number.isdecimal():
            name, number = rest, ""
        if number and int(number) != port:
            continue
        if address is not None:
            if _in_range(address, name.strip("[]")):
                return True
        elif host == name.lstrip("*.") or host.endswith("." + name.lstrip("*.")):
            return True
    return False


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _in_range(address: ipaddress.IPv4Address | ipaddress.IPv6Address, entry: str) -> bool:
    try:
        return address in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False
