"""Who may ask: by token, and, on loopback, by the name under which a browser reached the server.

A page of the web can make a browser send requests to loopback, even with a name of its own that points there (DNS
rebinding). Its name stands in the Host or the Origin header, and such requests are refused.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from emsa_jax.serving.api_errors import ApiError
from emsa_jax.serving.serving_options import LOOPBACK

OPEN = ("/", "/health")  # which need no token


@dataclass(frozen=True)
class Access:
    """The rules of one server. token: "" for none. names: of hosts that requests may be for; () for any."""

    token: str
    names: tuple[str, ...]

    @classmethod
    def of(cls, host: str, token: str, more: tuple[str, ...]) -> Access:
        """The rules for a server that listens at `host`. more: further names that it has."""
        return cls(token, (*LOOPBACK, *(name.lower() for name in more)) if host in LOOPBACK else ())

    def knows(self, origin: str) -> bool:
        """Whether a page of an origin, such as http://localhost:8001, may ask and read what is answered."""
        return not self.names or _name(origin) in self.names

    def check(self, path: str, headers: Mapping[str, str]) -> None:
        """Raises ApiError for a request that may not be made. headers: with names in small letters."""
        if self.names:
            if _name(f"//{headers.get('host', '')}") not in self.names:
                raise ApiError(403, "this server is not reached under that name (its Host header)", code="wrong_host")
            origin = headers.get("origin")
            if origin is not None and not self.knows(origin):
                raise ApiError(403, "pages of other sites may not ask this server", code="wrong_origin")
        if self.token and path not in OPEN:
            given = headers.get("authorization", "")
            if not hmac.compare_digest(given.encode("utf-8", "replace"), f"Bearer {self.token}".encode()):
                wrong = "a wrong token" if given else "no token"
                raise ApiError(
                    401,
                    f"{wrong} came with the request; send it as Authorization: Bearer TOKEN",
                    code="invalid_api_key",
                    headers={"www-authenticate": "Bearer"},
                )


def _name(address: str) -> str:
    """The host's name in an address, in small letters; "" where there is none."""
    try:
        return (urlsplit(address).hostname or "").lower()
    except ValueError:
        return ""
