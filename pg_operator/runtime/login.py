"""How Kopf finds the API server: as `kube/` does, or they might be two."""

import kopf


def login(
    *, settings: kopf.OperatorSettings, **_: object
) -> kopf.ConnectionInfo | None:
    """Use $KUBECONFIG, else ~/.kube/config, else the pod's account; None without."""
    by_file = kopf.login_with_kubeconfig(settings=settings)
    return by_file or kopf.login_with_service_account(settings=settings)
