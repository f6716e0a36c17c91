"""What the machine says about reaching an endpoint: the key, the proxy, how many connections may be open."""

from __future__ import annotations

import os
import resource

import aiohttp
from requests import utils

from emsa_jax.errors import InputError

SPARE = 128  # open files beside the connections


def key_from(name: str) -> str:
    """The key in an environment variable, "" if there is none. Raises InputError, which never shows it."""
    key = os.environ.get(name, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise InputError(f"{name}: the key holds a sign that no header can; copy it anew")
    return key


def proxy_for(url: str) -> tuple[str | None, aiohttp.BasicAuth | None]:
    """(address, user and password) of the proxy that the environment names for a URL, (None, None) for none.

    Raises InputError, without showing what may hold a password, where aiohttp cannot use it.
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


def make_room(connections: int) -> None:
    """Raises the limit of open files as far as so many connections need. Raises InputError where it may not."""
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + SPARE
    if most != resource.RLIM_INFINITY and needed > most:
        raise InputError(
            f"teacher.concurrency {connections} needs {needed} open files, but only {most} are allowed; lower it"
        )
    if soft != resource.RLIM_INFINITY and needed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, most))
