"""Free loopback ports, each given to one test process only."""

import random
import socket

# Below what Linux gives to outgoing connections (from 32768), so that none of these takes a port before its server.
_RANGE = range(10_000, 32_000)


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nothing listens on, ours until this process ends.

    An abstract Unix socket named for the port is the reservation: it is visible to every process that shares the
    ports, and is gone with its process.
    """
    for port in random.sample(_RANGE, len(_RANGE)):
        if _reserve(port):
            return port
    raise RuntimeError("no free port")


def _reserve(port: int) -> bool:
    reservation = socket.socket(socket.AF_UNIX)
    try:
        reservation.bind(f"\0email-router-tests/{port}")
        with socket.socket() as probe:
            # Servers set it too; without it, a port whose connections have just ended would count as taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except OSError:
        reservation.close()
        return False
    reservation.detach()  # stays open until the process ends
    return True
