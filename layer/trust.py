"""Amazon's own root certificates, for the resolver: loading a system's 140 would cost as much as a whole request.

They are told by their fingerprints, which Amazon publishes, so that nothing else can come in with the bundle that they
are taken from. Source: https://www.amazontrust.com/repository/
"""

import base64
import hashlib
import re
import zipfile
from pathlib import Path

SHA256_FINGERPRINTS = {
    "8ecde6884f3d87b1125ba31ac3fcb13d7016de7f57cc904fe1cb97c6ae98196e": "Amazon Root CA 1",
    "1ba5b2aa8c65401a82960118f80bec4f62304d83cec4713a19c39c011ea46db4": "Amazon Root CA 2",
    "18ce6cfe7bf14e60b2e347b8dfe868cb31d02ebb3ada271569f50343b46db3a4": "Amazon Root CA 3",
    "e35d28419ed02025cfa69038cd623962458da5c695fbdea3c22b0bfb25897092": "Amazon Root CA 4",
    "568d6905a2c88708a4b3025190edcfedb1974a606a13c6e5290fcb2ae63edab5": "Starfield Services Root CA - G2",
}

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\n(.*?)\n-----END CERTIFICATE-----\n", re.DOTALL)


class TrustError(Exception):
    """Raised when the bundle lacks a root that the layer is to trust."""


def amazon_roots(certifi: Path) -> bytes:
    """Return the roots as one PEM file, from certifi's wheel.

    Raises:
        TrustError: one of them is not in there.
    """
    with zipfile.ZipFile(certifi) as wheel:
        bundle = wheel.read("certifi/cacert.pem").decode()
    found = {
        hashlib.sha256(base64.b64decode(certificate[1])).hexdigest(): certificate[0]
        for certificate in _CERTIFICATE.finditer(bundle)
    }
    if missing := [name for fingerprint, name in SHA256_FINGERPRINTS.items() if fingerprint not in found]:
        raise TrustError(f"{certifi.name} lacks {', '.join(missing)}")
    return "".join(f"{name}\n{found[fingerprint]}" for fingerprint, name in SHA256_FINGERPRINTS.items()).encode()
