"""What the API server says while the operator is not there."""

import json

from tests.e2e.load import apply_body
from tests.localcluster.deployed import DeployedCluster


def test_schema_lets_in_what_only_the_webhook_refuses(
    cluster: DeployedCluster,
) -> None:
    """Else the load below would not notice a webhook that is passed over."""
    for valid in (True, False):
        body = json.dumps(apply_body(0, valid=valid))
        options = ("--dry-run=server", "--server-side", "--filename=-")
        cluster.kubectl.run("apply", *options, input=body)
