"""What the environment says about reaching an endpoint: the key, the proxy, how many connections may be open."""

from __future__ import annotations

import os
import resource

import aiohttp
from requests import utils

from emsa_jax.errors import InputError

SPARE = 128  # files that are open beside the connections


def key_from(name: str) -> str:
    """The key in an environment variable, "" where it is not set. Raises InputError, whose text never holds the key."""
    key = os.environ.get(name, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise InputError(f"{name}: the key holds a character that no header can; copy it again")
    return key


def proxy_for(url: str) -> tuple[str | None, aiohttp.BasicAuth | None]:
    """(address, user and password) of the proxy that the environment names for a URL, (None, None) for none.

    Raises InputError where aiohttp cannot use it; the text leaves out what may hold a password.
    """
    proxy = utils.select_proxy(url, utils.get_environ_proxies(url))
    if not proxy:
        return None, None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    try:
        user, password = utils.get_auth_from_url(proxy)
        auth = aiohttp.BasicAuth(user, password, "utf-8") if user or password else None
    except ValueError as error:
        raise InputError("the proxy in the environment is no address with a user and a password; see to it") from error
    if not proxy.startswith(("http://", "https://")):
        kind = proxy.partition(":")[0]
        raise InputError(
            f"the environment names a {kind} proxy for {url}; only http and https ones can be used: unset "
            "it, or put the host into no_proxy"
        )
    return utils.urldefragauth(proxy), auth


def raise_file_limit(connections: int) -> None:
    """Raises the limit of open files to what so many connections need. Raises InputError where that is not allowed."""
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + SPARE
    if most != resource.RLIM_INFINITY and needed > most:
        raise InputError(
            f"teacher.concurrency {connections} needs {needed} open files, but only {most} are allowed; lower it"
        )
    if soft != resource.RLIM_INFINITY and needed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, most))
