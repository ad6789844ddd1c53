"""What the API server trusts of the webhook: caBundle of its configurations."""

import json

from tests.cluster.unguarded import CONFIGURATIONS
from tests.localcluster.kubectl import Kubectl


def trusted(kubectl: Kubectl) -> list[str]:
    """Return caBundle of every webhook, in Base64."""
    return [
        webhook["clientConfig"].get("caBundle", "")
        for name in CONFIGURATIONS
        for webhook in kubectl.get(name)["webhooks"]
    ]


def trust(kubectl: Kubectl, bundle: str) -> None:
    """Write caBundle of every webhook; an empty one takes it away."""
    for name in CONFIGURATIONS:
        step = {"op": "add", "value": bundle} if bundle else {"op": "remove"}
        steps = [
            {**step, "path": f"/webhooks/{number}/clientConfig/caBundle"}
            for number in range(3)
        ]
        kubectl.run("patch", name, "--type=json", f"--patch={json.dumps(steps)}")
