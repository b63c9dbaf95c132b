"""Which network interface the workers of a trial talk over: the one at which Ray reaches their machine.

Gloo, which joins workers that have no GPU, asks for the address of the machine's own name. Debian and Ubuntu write
127.0.1.1 there, which no other machine reaches; a machine with several interfaces may name the wrong one. NCCL, which
joins GPUs, looks at the interfaces themselves and needs no help.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from dataclasses import dataclass
from typing import Any

import ray
from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend

VARIABLE = "GLOO_SOCKET_IFNAME"  # gloo's name for it
_GET_ADDRESS = 0x8915  # Linux: SIOCGIFADDR, see netdevice(7)
_NAME_BYTES = 15  # Linux: IFNAMSIZ, less the end
_REQUEST_BYTES = 256  # chosen: an ifreq has 40
_ADDRESS_AT = 20  # of an ifreq: 16 of name, 2 of family, 2 of port


@dataclass
class ReachableTorchConfig(TorchConfig):
    """Ray Train's way to a process group, after each worker has named its interface."""

    @property
    def backend_cls(self) -> type[_TorchBackend]:
        """Whoever sets the group up."""
        return _ReachableBackend


class _ReachableBackend(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        """Called by Ray Train when the workers are there and the group is not."""
        worker_group.execute(name_interface)
        super().on_start(worker_group, backend_config)


def name_interface() -> None:
    """Has gloo use the interface of this machine's address in the cluster; what a person has set stays."""
    name = interface_of(ray.util.get_node_ip_address())
    if name is not None:
        os.environ.setdefault(VARIABLE, name)


def interface_of(address: str) -> str | None:
    """The name of the interface with an IPv4 address; None where this machine has none such."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            request = struct.pack(f"{_REQUEST_BYTES}s", name.encode()[:_NAME_BYTES])
            try:
                answer = fcntl.ioctl(asked.fileno(), _GET_ADDRESS, request)
            except OSError:
                continue  # without an address, or not on Linux
            if socket.inet_ntoa(answer[_ADDRESS_AT : _ADDRESS_AT + 4]) == address:
                return name
    return None
