"""Certificates for servers of tests: a root of our own, and what it signs."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Authority:
    """A root certificate, and the folder where its files lie."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    folder: Path

    @property
    def bundle(self) -> Path:
        """A PEM file with the root alone."""
        return self.folder / "root.pem"

    def server_files(self, host: str, *, expired: bool = False) -> Path:
        """Write certificate and key of a server named `host` into one PEM file."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives: list[x509.GeneralName] = [
            x509.IPAddress(ipaddress.ip_address(host)) if host[0].isdigit() else x509.DNSName(host)
        ]
        builder = _builder(host, self.certificate.subject, key, days=-1 if expired else 1)
        certificate = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False).sign(
            self.key, hashes.SHA256()
        )
        path = self.folder / f"{host}{'-expired' if expired else ''}.pem"
        path.write_bytes(_pem(certificate) + _key_pem(key))
        return path

    def server_context(self, host: str, *, expired: bool = False) -> ssl.SSLContext:
        """Return the TLS context of a server named `host`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server_files(host, expired=expired))
        return context


def make_authority(folder: Path, name: str = "Test Root") -> Authority:
    """Make a root certificate and write it into `folder`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = _builder(name, subject, key, days=1).add_extension(
        x509.BasicConstraints(ca=True, path_length=None), critical=True
    )
    authority = Authority(key, builder.sign(key, hashes.SHA256()), folder)
    authority.bundle.write_bytes(_pem(authority.certificate))
    return authority


def _builder(name: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, *, days: int) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=2))
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
