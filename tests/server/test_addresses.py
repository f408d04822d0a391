"""server/addresses.py: what is taken for an address is one for those who use it; the rest is in test_config.py."""

from contextlib import suppress

import httpx
import redis.asyncio
from hypothesis import given
from hypothesis import strategies as st

from server.addresses import parse_processor_url, parse_redis_url

hosts = st.one_of(
    st.from_regex(r"[a-z0-9_.:-]{1,12}", fullmatch=True),
    st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){2,4}", fullmatch=True),
    st.from_regex(r"\[[0-9a-f:.]{1,20}\]", fullmatch=True),
    st.from_regex(r"(a\.)?xn--[a-z0-9]{0,8}", fullmatch=True),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map("[{}]".format),
)
ports = st.sampled_from(["", ":", ":0", ":80", ":65535", ":65536"])
secrets = st.text(st.sampled_from("a:%@/[]#? \x00é℀"), max_size=6).map(lambda text: f"{text}@" if text else "")


class TestAddresses:
    """What a wrong one would do is end each child when its client is made, again and again."""

    @given(hosts, ports, st.sampled_from(["", "/", "/a/b", "/%zz"]))
    def test_of_a_processor(self, host: str, port: str, path: str) -> None:
        """Taken by httpx."""
        with suppress(ValueError):
            url = parse_processor_url(f"http://{host}{port}{path}")
            assert httpx.URL(url).host

    @given(secrets, hosts, ports, st.sampled_from(["", "/", "/0", "/x"]))
    def test_of_redis(self, secret: str, host: str, port: str, path: str) -> None:
        """Taken by redis-py."""
        for address in (f"redis://{secret}{host}{port}{path}", f"unix://{secret}/run{path}"):
            with suppress(ValueError):
                url = parse_redis_url(address)
                assert _taken_by_redis(url), url


def _taken_by_redis(url: str) -> bool:
    try:
        redis.asyncio.ConnectionPool.from_url(url)
    except ValueError:
        return False
    return True
