"""No address that a row may hold makes this process send a packet to a place that it must not reach."""

from collections.abc import Callable, Iterator
from ipaddress import ip_address
from urllib.request import urlopen

import pytest

from autosteer_core.errors import BadItem
from infra.picture_places import no_fetch
from infra.public_address import is_public
from infra.web_address import taken_apart
from infra.web_pictures import WebPictures
from tests.security.hostile_addresses import disguised, look_up, metadata, neighbours
from tests.security.loopback_web import Server, redirect, reply, serve
from tests.security.packets import watched

PNG = b"\x89PNG of some picture"
FRIEND = "127.0.0.2"  # stands in for the public internet: only here may packets go

pytestmark = pytest.mark.security


def may_reach_friend(address: object) -> bool:
    return str(address) == FRIEND


@pytest.fixture
def forbidden() -> Iterator[Server]:
    """What must not be reached: it listens at 127.0.0.1, and at whatever spelling leads there."""
    with serve("127.0.0.1", reply(b"SECRET")) as server:
        yield server


def everything(port: int) -> list[str]:
    return metadata() + neighbours(port) + disguised(port, "friend.example")


def hosts_of(address: str) -> list[str]:
    """As if a person had listed the host, if the setting can hold it."""
    found = taken_apart(address)
    return [f"{found[0].scheme}://{found[0].host}:{found[0].port}"] if found else []


def test_without_a_setting_nothing_is_looked_up_or_sent(
    forbidden: Server, report: Callable[[str, object], None]
) -> None:
    addresses = everything(forbidden.port)
    for address in addresses:
        with watched() as seen, pytest.raises(BadItem, match="E_URI_FORBIDDEN"):
            no_fetch(address)
        assert seen == [], address
    assert len(set(addresses)) >= 40
    assert forbidden.connections == 0
    report("hostile addresses", f"{len(set(addresses))}, 0 packets without a setting")


def test_a_listed_host_that_leads_to_a_special_address_gets_no_packet(
    forbidden: Server, report: Callable[[str, object], None]
) -> None:
    listed = 0
    for address in everything(forbidden.port):
        hosts = hosts_of(address)
        listed += bool(hosts)
        web = WebPictures([*hosts, "friend.example", "http://friend.example"], look_up)
        with watched() as seen, pytest.raises(BadItem) as refusal:
            web.fetch(address)
        assert refusal.value.code in ("E_URI_FORBIDDEN", "E_FETCH_FAILED"), address
        assert [call for call in seen if call[0] != "getaddrinfo"] == [], address
    assert forbidden.connections == 0
    assert listed >= 40
    report("hostile hosts that were listed", f"{listed}, 0 connections")


def test_the_same_addresses_reach_the_server_where_nobody_checks(forbidden: Server) -> None:
    """The guard is what keeps them away: with a guard that lets all pass, the server is reached."""
    local = ("127.0.0.1", "0.0.0.0", "::ffff:127.0.0.1")
    reached = 0
    for address in neighbours(forbidden.port):
        found = taken_apart(address)
        if found and all(place in local for place in look_up(found[0].name, 0)):
            web = WebPictures(hosts_of(address), look_up, lambda _: True)
            assert web.fetch(address) == b"SECRET"
            reached += 1
    assert reached >= 12
    assert forbidden.connections == reached


def test_a_name_is_asked_once_and_what_was_checked_is_what_is_reached(forbidden: Server) -> None:
    """Rebinding: the second answer would be ours."""
    answers = [[FRIEND], ["127.0.0.1"], ["127.0.0.1"]]
    with serve(FRIEND, reply(PNG), forbidden.port) as friend:
        web = WebPictures(
            [f"http://rebind.example:{friend.port}"], lambda name, port: answers.pop(0), may_reach_friend
        )
        with watched() as seen:
            assert web.fetch(f"http://rebind.example:{friend.port}/1.png") == PNG
            assert len(answers) == 2
            with pytest.raises(BadItem, match="E_URI_FORBIDDEN"):
                web.fetch(f"http://rebind.example:{friend.port}/1.png")
    assert [place for call, place in seen if call == "connect"] == [(FRIEND, friend.port)]
    assert (friend.connections, forbidden.connections) == (1, 0)


@pytest.mark.parametrize("path", ["/latest/meta-data?token=secret", "@evil", "/a b", "/\u00e9"])
def test_a_redirect_is_told_and_not_followed(forbidden: Server, path: str) -> None:
    there = f"http://127.0.0.1:{forbidden.port}{path}"
    with serve(FRIEND, redirect(there.encode().decode("latin-1"))) as friend:
        web = WebPictures([f"http://friend.example:{friend.port}"], lambda *_: [FRIEND], may_reach_friend)
        with watched() as seen, pytest.raises(BadItem, match="E_URI_FORBIDDEN.*redirects to") as refusal:
            web.fetch(f"http://friend.example:{friend.port}/1.png")
    assert "secret" not in str(refusal.value)
    assert [place for call, place in seen if call == "connect"] == [(FRIEND, friend.port)]
    assert forbidden.connections == 0


def test_a_careless_reader_follows_the_same_redirect(forbidden: Server) -> None:
    with serve(FRIEND, redirect(f"http://127.0.0.1:{forbidden.port}/x")) as friend, watched() as seen:
        assert urlopen(f"http://{FRIEND}:{friend.port}/1.png").read() == b"SECRET"
    assert forbidden.connections == 1
    assert ("connect", ("127.0.0.1", forbidden.port)) in seen


def test_a_proxy_of_the_environment_is_not_asked(forbidden: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{forbidden.port}")
    with serve(FRIEND, reply(PNG)) as friend:
        web = WebPictures([f"http://friend.example:{friend.port}"], lambda *_: [FRIEND], may_reach_friend)
        assert web.fetch(f"http://friend.example:{friend.port}/1.png") == PNG
    assert forbidden.connections == 0


@pytest.mark.parametrize(
    ("address", "public"),
    [
        *((address, True) for address in ("93.184.215.14", "1.1.1.1", "2606:4700::1111", "64:ff9b::101:101")),
        *((address, False) for address in ("127.0.0.1", "0.0.0.0", "10.0.0.1", "172.31.255.255", "192.168.1.1")),
        *((address, False) for address in ("100.64.0.1", "169.254.1.1", "192.0.2.1", "198.51.100.1", "203.0.113.1")),
        *((address, False) for address in ("224.0.0.1", "240.0.0.1", "255.255.255.255", "192.88.99.1", "192.0.0.8")),
        *((address, False) for address in ("::", "::1", "::7f00:1", "::ffff:10.0.0.1", "fe80::1", "fe80::1%eth0")),
        *(
            (address, False)
            for address in ("fd00::1", "fec0::1", "ff02::1", "2001::1", "2001:db8::1", "2002:a00:1::")
        ),
        *((address, False) for address in ("64:ff9b::a00:1", "64:ff9b:1::1", "100::1", "5f00::1", "3fff::1")),
    ],
)
def test_only_addresses_of_the_public_internet_are_public(address: str, public: bool) -> None:
    assert is_public(ip_address(address)) is public
