"""Decide who may use the server: on loopback every user of this machine, elsewhere those MONAI Label authenticates."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

ENABLE, REALM = "MONAI_LABEL_AUTH_ENABLE", "MONAI_LABEL_AUTH_REALM_URI"


def is_loopback(host: str) -> bool:
    """Return whether a server on this address can be reached only from its own machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def check_access(host: str, environment: Mapping[str, str], anyone: bool) -> None:
    """Check that a server that others can reach authenticates them.

    Args:
        host: address that it listens on.
        environment: MONAI Label's settings.
        anyone: whether the user allows everybody to use it.

    Raises:
        ValueError: If the address is not loopback, and neither authentication nor ``anyone`` is set.
    """
    enabled = environment.get(ENABLE, "").strip().lower() in ("true", "1", "yes", "on")
    if is_loopback(host) or anyone or (enabled and environment.get(REALM, "").strip()):
        return
    raise ValueError(
        f"host {host!r} can be reached by others, and the server would not ask who they are; set {ENABLE}=true and "
        f"{REALM}=address of your Keycloak realm, or say --anyone_may_use_this_server."
    )
