"""What pods of the webhook serve, asked from the node."""

import ssl
from typing import Any

from cryptography import x509

HTTPS_PORT = 9443


def certificate_of(pod: dict[str, Any]) -> x509.Certificate:
    """Return the certificate that a pod serves now."""
    pem = ssl.get_server_certificate((pod["status"]["podIP"], HTTPS_PORT), timeout=5)
    return x509.load_pem_x509_certificate(pem.encode())
