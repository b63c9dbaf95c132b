"""Ports that tests may listen at."""

from __future__ import annotations

import random
import socket

# Below those that systems hand out for connections of their own (Linux from 32768, others from 49152), above Ray's
# workers' (10002 to 19999): a port from 0 on request may be taken by a connection before a server comes to listen.
PORTS = range(20_000, 32_000)


def free_port() -> int:
    """A port of this machine that nobody listens at, and that nobody is given without asking for it."""
    for port in random.SystemRandom().sample(PORTS, 100):
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    raise AssertionError("none of a hundred ports is free")
