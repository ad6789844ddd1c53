"""kubectl as functions."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.localcluster.processes import environment


class KubectlError(AssertionError):
    """A kubectl command that had to succeed did not; the text is its stderr."""


class Kubectl:
    """kubectl with one kubeconfig."""

    def __init__(self, program: Path, *, kubeconfig: Path, cache: Path) -> None:
        """Use `kubeconfig`; discovery is cached in the directory `cache`."""
        self.program = program
        self.kubeconfig = kubeconfig
        self.cache = cache

    def __call__(
        self,
        *args: str,
        input: str | None = None,  # noqa: A002 - as subprocess.run names it
        timeout: float = 90,
    ) -> "subprocess.CompletedProcess[str]":
        """Run kubectl and return what it said, whether it succeeded or not."""
        additions = {
            "KUBECONFIG": str(self.kubeconfig),
            "KUBECACHEDIR": str(self.cache),
        }
        return subprocess.run(
            [str(self.program), *args],
            input=input,
            env=environment(additions),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def run(
        self,
        *args: str,
        input: str | None = None,  # noqa: A002
        timeout: float = 90,
    ) -> str:
        """Run kubectl and return its output; raises KubectlError when it fails."""
        done = self(*args, input=input, timeout=timeout)
        if done.returncode != 0:
            raise KubectlError(f"kubectl {' '.join(args)}: {done.stderr.strip()}")
        return done.stdout

    def apply(self, manifest: str, *args: str) -> str:
        """Apply YAML documents; raises KubectlError when one is refused."""
        return self.run("apply", "--filename", "-", *args, input=manifest)

    def get(self, *args: str) -> Mapping[str, Any]:
        """Return an object (or a List) as the API server has it."""
        found: Mapping[str, Any] = json.loads(self.run("get", *args, "--output=json"))
        return found

    def wait(self, target: str, condition: str, *args: str, timeout: int = 30) -> None:
        """Wait for `target` ("database/orders") as `kubectl wait --for` does.

        Raises KubectlError, with the object's status, after `timeout` seconds.
        """
        done = self(
            *("wait", target, f"--for={condition}", f"--timeout={timeout}s", *args),
            timeout=timeout + 30,
        )
        if done.returncode != 0:
            options = ("--output=jsonpath={.status}", "--ignore-not-found")
            status = self("get", target, *options, *args).stdout
            raise KubectlError(
                f"{target} did not reach {condition} within {timeout} s:"
                f" {done.stderr.strip()}\nstatus: {status}"
            )
