"""What pods serve, asked from the node."""

import ssl
from typing import Any

from cryptography import x509

from tests.localcluster.deployed import DeployedCluster
from tests.localcluster.probes import read_page

HTTPS_PORT = 9443
HEALTH_PORT = 8081


def certificate_of(pod: dict[str, Any]) -> x509.Certificate:
    """Return the certificate that a pod serves now."""
    pem = ssl.get_server_certificate((pod["status"]["podIP"], HTTPS_PORT), timeout=5)
    return x509.load_pem_x509_certificate(pem.encode())


def metrics_pages(cluster: DeployedCluster) -> dict[str, str]:
    """Return the metrics page of each pod of ours, by a name for it."""
    return {
        f"metrics of {pod['metadata']['name']}": read_page(
            f"{scheme}://{pod['status']['podIP']}:{port}/metrics"
        )
        for part, scheme, port in (
            ("controller", "http", HEALTH_PORT),
            ("webhook", "https", HTTPS_PORT),
        )
        for pod in cluster.pods(part)
    }
