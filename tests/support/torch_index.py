"""Stand-ins for the package index and for PyTorch's own, which no test may download from: both hold a tiny torch.

PyTorch's is reached as through a company's proxy, since uv knows its address by heart. Its certificate is self-signed.
"""

import datetime
import io
import ssl
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

VERSION = "2.13.0"
_HOST = "download.pytorch.org"

Reach = Literal["served", "refused", "silent"]
"""What becomes of a connection to PyTorch's index: served, refused by the proxy, or never answered."""


def wheel(version: str) -> tuple[str, bytes]:
    """Name and content of a wheel of torch that holds nothing."""
    info = f"torch-{version}.dist-info"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", f"{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return f"torch-{version}-py3-none-any.whl", content.getvalue()


@contextmanager
def torch_indexes(folder: Path, pytorch: Reach) -> Iterator[dict[str, str]]:
    """Both, running: the variables by which uv uses them and nothing besides."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(_certificate(folder))
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_CONNECT(self) -> None:
            if pytorch == "silent":
                ended.wait()
            if pytorch != "served" or not self.path.startswith(_HOST):
                self.send_error(502)
                return
            self.send_response(200)
            self.end_headers()
            self.connection = tls.wrap_socket(self.connection, server_side=True)
            self.rfile = self.connection.makefile("rb")
            self.wfile = self.connection.makefile("wb", buffering=0)  # type: ignore[assignment]

        def do_GET(self) -> None:
            name, content = wheel(f"{VERSION}+cpu" if isinstance(self.connection, ssl.SSLSocket) else VERSION)
            kind = "application/octet-stream"
            if not self.path.endswith(".whl"):
                kind, content = "text/html", f'<a href="{name.replace("+", "%2B")}">{name}</a>'.encode()
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield {
            "UV_DEFAULT_INDEX": f"{address}/simple",
            "HTTPS_PROXY": address,
            "NO_PROXY": "127.0.0.1",
            "UV_INSECURE_HOST": _HOST,
            "UV_NO_CONFIG": "1",
            "UV_CACHE_DIR": str(folder / "cache"),
        }
    finally:
        ended.set()
        server.shutdown()
        server.server_close()


def _certificate(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, _HOST)])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().issuer_name(name).subject_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now)
    signed = builder.not_valid_after(now + datetime.timedelta(days=1)).sign(key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "certificate.pem"
    path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return path
