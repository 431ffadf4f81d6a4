"""Python imports this at its start if its folder is on PYTHONPATH.

Connections to other machines are refused and noted, one per line, in the file that REFUSED_CONNECTIONS names.
Child processes inherit both variables.
"""

import ipaddress
import os
import socket
from typing import Any

own_connect, own_connect_ex, own_getaddrinfo = (
    socket.socket.connect,
    socket.socket.connect_ex,
    socket.getaddrinfo,
)


def check(host: Any) -> None:
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost", socket.gethostname()):
        return
    try:
        local = ipaddress.ip_address(name).is_loopback
    except ValueError:
        local = False
    if not local:
        with open(os.environ["REFUSED_CONNECTIONS"], "a") as file:
            file.write(f"{name}\n")
        raise OSError(f"the test refuses a connection to {name}")


def connect(self: socket.socket, address: Any) -> None:
    if self.family != socket.AF_UNIX:
        check(address[0])
    own_connect(self, address)


def connect_ex(self: socket.socket, address: Any) -> int:
    if self.family != socket.AF_UNIX:
        check(address[0])
    return own_connect_ex(self, address)


def getaddrinfo(host: Any, *given: Any, **more: Any) -> Any:
    check(host)
    return own_getaddrinfo(host, *given, **more)


socket.socket.connect = connect  # type: ignore[method-assign]
socket.socket.connect_ex = connect_ex  # type: ignore[method-assign]
socket.getaddrinfo = getaddrinfo
