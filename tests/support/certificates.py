"""A certificate authority of the tests, and a server's certificate for 127.0.0.1."""

import datetime
import ipaddress
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Authority:
    """Files of an authority that nobody trusts by default."""

    file: Path
    """Its certificate."""
    folder: Path
    """A folder with the certificate under the name that OpenSSL looks for."""
    _server: Path

    def server_context(self) -> ssl.SSLContext:
        """For a server that shows a certificate of this authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._server)
        return context


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority, made for this session."""
    root = tmp_path_factory.mktemp("authority")
    key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of the tests")])
    own = _certificate(name, name, key.public_key(), key, x509.BasicConstraints(ca=True, path_length=None))
    host = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    server = _certificate(host, name, server_key.public_key(), key, address)
    file, folder, pair = root / "authority.pem", root / "certificates", root / "server.pem"
    file.write_bytes(own.public_bytes(serialization.Encoding.PEM))
    pair.write_bytes(
        server_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + server.public_bytes(serialization.Encoding.PEM)
    )
    folder.mkdir()
    command = ["openssl", "x509", "-noout", "-subject_hash", "-in", str(file)]
    hashed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    (folder / f"{hashed}.0").write_bytes(file.read_bytes())
    return Authority(file, folder, pair)


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    signer: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    builder = x509.CertificateBuilder(issuer, subject, public_key, x509.random_serial_number(), now - day, now + day)
    return builder.add_extension(extension, critical=False).sign(signer, hashes.SHA256())
