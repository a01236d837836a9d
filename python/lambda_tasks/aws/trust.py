"""Which certificates are trusted: Amazon's own roots, since loading a system's 140 costs as much as a whole request.

Source: https://www.amazontrust.com/repository/
"""

from __future__ import annotations

import os
import threading

from lambda_tasks import after_fork
from lambda_tasks.errors import InvalidSetting

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

# Put there by the build of the layer; a source tree has none and trusts what the system does.
AMAZON_ROOTS = os.path.join(os.path.dirname(__file__), "amazon_roots.pem")  # noqa: PTH118, PTH120 - no pathlib here

# OpenSSL's X509_V_ERR_*: the chain ends at a root that is not in the store.
_UNKNOWN_ISSUER_CODES = {2, 18, 19, 20, 21}


class TrustStore:
    """The TLS context of all connections, made when the first one is opened.

    With ``AWS_CA_BUNDLE`` that bundle alone counts. Otherwise a server whose issuer is not Amazon (a proxy that
    inspects TLS) makes us load the system's store, once.
    """

    def __init__(self, environ: Mapping[str, str], amazon_roots: str = AMAZON_ROOTS) -> None:
        self._ca_bundle = environ.get("AWS_CA_BUNDLE")
        self._amazon_roots = amazon_roots
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None
        self._left_behind: list[ssl.SSLContext | None] = []
        self._can_widen = False
        after_fork.register(self)

    def let_go_after_fork(self) -> None:
        """Have a lock, and a context with its own ones, that no thread of the parent holds."""
        self._lock = threading.Lock()
        self._left_behind.append(self._context)  # to free a context takes a lock of it
        self._context = None

    def context(self) -> ssl.SSLContext:
        """Return the context to connect with.

        Raises:
            InvalidSetting: ``AWS_CA_BUNDLE`` names no file of certificates.

        """
        import ssl  # noqa: PLC0415 - plain HTTP must not pay for it

        with self._lock:
            if self._context is None:
                self._can_widen = not self._ca_bundle and os.path.exists(self._amazon_roots)  # noqa: PTH110
                roots = self._ca_bundle or (self._amazon_roots if self._can_widen else None)
                try:
                    self._context = _context(roots)
                except (OSError, ssl.SSLError) as error:
                    remedy = "name a file of PEM certificates, or remove the variable"
                    problem = f"the certificates cannot be read ({error.strerror or type(error).__name__})"
                    raise InvalidSetting(problem, variable="AWS_CA_BUNDLE", remedy=remedy) from error
            return self._context

    def widen(self, refused: ssl.SSLContext, error: ssl.SSLCertVerificationError) -> bool:
        """Load the system's store where `error` is an unknown issuer; return whether to connect once more."""
        if error.verify_code not in _UNKNOWN_ISSUER_CODES:
            return False
        with self._lock:
            if self._can_widen:
                self._can_widen = False
                self._context = _context()
            return self._context is not refused  # another thread may have widened it meanwhile


def _context(roots: str | None = None) -> ssl.SSLContext:
    """Return a context that trusts the certificates in the file `roots`, or those of the system.

    Python 3.13 asks for every extension of RFC 5280, which a company's own authority often leaves out. Neither earlier
    Pythons nor botocore do: a certificate that counts for them counts here.
    """
    import ssl  # noqa: PLC0415 - plain HTTP must not pay for it

    context = ssl.create_default_context(cafile=roots)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
