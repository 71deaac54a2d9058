"""The way to a server: through which proxy, and which certificates count."""

import ipaddress
import os
import re
import ssl
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies_environment

from opencharacter.errors import UserError

_ENTRY = re.compile(r"(?:[a-z]+://)?[\w.*-]+(?::\d{1,5})?(?:/\d{1,3})?/?", re.ASCII)
_DEFAULT_PORTS = {"http": 80, "https": 443}


def read_base_url(base_url: str) -> SplitResult:
    """The parts of a server's address. Raises `UserError` if it is no HTTP address."""
    try:
        address = urlsplit(base_url)
        known = address.scheme in _DEFAULT_PORTS and address.hostname and address.port != 0
    except ValueError:
        known = False
    if not known:
        shown = re.sub("//[^@]*@", "//***@", base_url)
        raise UserError(f"base_url is '{shown}'; expected a URL such as http://HOST:PORT/v1")
    return address


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
    try:
        address = urlsplit(proxy)
        known = bool(address.hostname) and address.port != 0
    except ValueError:
        address, known = urlsplit("malformed:"), False
    if address.scheme not in _DEFAULT_PORTS or not known:
        # Not the value: it may hold a password.
        kind = "is no URL" if address.scheme in {"malformed", *_DEFAULT_PORTS} else f"names a {address.scheme} proxy"
        raise UserError(
            f"{scheme.upper()}_PROXY {kind}; expected an HTTP proxy such as http://HOST:PORT",
            hint=f"give an HTTP proxy, or add {target.hostname} to NO_PROXY",
        )
    return proxy


def check_environment(url: str) -> None:
    """Raise `UserError` if `url` is no HTTP address, or a variable of the environment keeps every client from it."""
    address = read_base_url(url)
    if is_loopback(address.hostname):
        return
    proxy_for(url)
    for entry in getproxies_environment().get("no", "").replace(",", " ").split():
        if not _is_readable(entry):
            raise UserError(
                f"NO_PROXY holds '{entry}', which HTTP clients cannot read; expected host names, domains, addresses "
                "or IPv4 ranges such as 10.0.0.0/8",
                hint="take it out of NO_PROXY; for this machine's own addresses no entry is needed",
            )
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"):
        path = os.environ.get(variable)
        if path and not (os.path.isdir(path) if variable == "SSL_CERT_DIR" else os.path.exists(path)):
            what = "folder" if variable == "SSL_CERT_DIR" else "file"
            raise UserError(
                f"{variable} names {path}, but there is no such {what}; expected certificates of authorities",
                hint=f"correct the path, or unset {variable}",
            )
    if address.scheme == "https":
        tls_context()


def tls_context() -> ssl.SSLContext:
    """Certificates of SSL_CERT_FILE or SSL_CERT_DIR; where neither is set, those that certifi brings.

    Raises `UserError` if they cannot be read.
    """
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    try:
        if file:
            return ssl.create_default_context(cafile=file)
        if folder:
            return ssl.create_default_context(capath=folder)
    except OSError as error:  # ssl.SSLError is one
        variable = "SSL_CERT_FILE" if file else "SSL_CERT_DIR"
        raise UserError(
            f"{variable} names {file or folder}, which cannot be read as certificates: {error}",
            hint=f"expected certificates of authorities in PEM form; correct the path, or unset {variable}",
        ) from error
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


def _is_readable(entry: str) -> bool:
    """Whether httpx, through which models are downloaded, can read an entry of NO_PROXY."""
    return _ENTRY.fullmatch(entry) is not None or _address(entry) is not None


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
