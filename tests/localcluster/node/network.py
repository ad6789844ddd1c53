"""The pods' network: a bridge, and a network namespace with an address per pod.

Nothing here outlives the network namespace it runs in, and nothing leads out of it.
"""

import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

BRIDGE = "br0"
NODE_ADDRESS = "10.244.0.1"
SERVICE_ADDRESS = "10.96.0.1"
PREFIX = "10.244.0."
BITS = 24


class NetworkError(Exception):
    """`ip` or `unshare` failed; the text is what it said."""


@dataclass(frozen=True, slots=True)
class PodNetwork:
    """One pod's namespace: a file that holds it open, and its address."""

    namespace: Path
    address: str
    link: str

    def connect(self, *, up: bool) -> None:
        """Plug the pod's link in or out, as a broken cable would."""
        run("ip", "link", "set", self.link, "up" if up else "down")

    def remove(self) -> None:
        """Take the namespace away; its link goes with it."""
        run("ip", "link", "delete", self.link)
        run("umount", str(self.namespace))
        self.namespace.unlink()


class Addresses:
    """Hands out the bridge's addresses in turn.

    One that was given back is the last to be given again: neighbours may still know
    its former owner.
    """

    def __init__(self) -> None:
        """Begin after the node's own address."""
        self._lock = threading.Lock()
        self._next = 2

    def take(self) -> str:
        """Return the next address."""
        with self._lock:
            number = self._next
            self._next = number + 1 if number < 254 else 2
        return f"{PREFIX}{number}"


def set_up() -> None:
    """Make the bridge in the present network namespace, which must be a fresh one."""
    bridge = hardware_address(NODE_ADDRESS)
    script = f"""
        ip link set lo up
        ip addr add {SERVICE_ADDRESS}/32 dev lo
        ip link add {BRIDGE} address {bridge} type bridge
        ip addr add {NODE_ADDRESS}/{BITS} dev {BRIDGE}
        ip link set {BRIDGE} up
        echo 0 > /proc/sys/net/ipv4/conf/all/send_redirects
        echo 0 > /proc/sys/net/ipv4/conf/{BRIDGE}/send_redirects
        bridged=/proc/sys/net/bridge/bridge-nf-call-iptables
        if [ -w $bridged ]; then echo 0 > $bridged; fi
    """
    run("sh", "-ec", script)


def attach(namespace: Path, address: str) -> PodNetwork:
    """Make a network namespace with one address on the bridge."""
    namespace.touch()
    number = address.rpartition(".")[2]
    link = f"veth{number}"
    run("unshare", f"--net={namespace}", "true")
    # The addresses of both ends are fixed: else the bridge takes another one whenever
    # a pod goes, and every pod stalls until its neighbours have learnt it.
    script = f"""
        ip link add {link} address {hardware_address(address, end=1)} type veth \
            peer name eth0 address {hardware_address(address)} netns {namespace}
        ip link set {link} master {BRIDGE} up
        nsenter --net={namespace} sh -ec '
            ip link set lo up
            ip addr add {address}/{BITS} dev eth0
            ip link set eth0 up
            ip route add default via {NODE_ADDRESS}'
    """
    run("sh", "-ec", script)
    return PodNetwork(namespace=namespace, address=address, link=link)


def hardware_address(address: str, *, end: int = 0) -> str:
    """Return a locally administered MAC address made of an IPv4 address."""
    octets = [f"{int(part):02x}" for part in address.split(".")]
    return ":".join([f"0{2 + 4 * end:x}", "58", *octets])


def run(*command: str) -> None:
    """Run a program. Raises NetworkError with its words when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NetworkError(f"{' '.join(command[:3])}: {done.stderr.strip()}")
