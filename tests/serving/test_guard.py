"""Who may ask, and what stands on every answer."""

import asyncio
import re

import pytest

from avfusion.serving.api import PAGE, page_policy
from avfusion.serving.guard import Guard
from tests.serving.conftest import Answer, ask


async def behind(scope: object, receive: object, send: object) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-own", b"1")]})  # type: ignore[operator]
    await send({"type": "http.response.body", "body": b"secret"})  # type: ignore[operator]


def answer(method: str = "GET", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return asyncio.run(ask(Guard(behind, ["localhost", "Studio.local"], "policy"), method, "/", headers=named))


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8000", "LOCALHOST:8000", "127.0.0.1:8000", "192.168.1.7", "[::1]:8000", "studio.local:80"],
)
def test_own_addresses_are_answered(host: str) -> None:
    assert answer(Host=host).body == b"secret"


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8000", "", "[::1", "localhost@evil.example"],
)
def test_names_that_somebody_else_lets_point_here_are_not(host: str) -> None:
    refused = answer(Host=host)
    assert (refused.status, b"secret" in refused.body) == (400, False)


def test_other_sites_pages_are_refused() -> None:
    here = {"Host": "127.0.0.1:8000"}
    assert answer("POST", **here, Origin="http://127.0.0.1:8000").status == 200
    for origin in ("http://evil.example", "http://127.0.0.1:9000", "http://localhost:8000", "null", "http://["):
        assert answer("POST", **here, Origin=origin).status == 403, origin
    assert answer("DELETE", **here, Sec_Fetch_Site="cross-site").status == 403
    assert answer("GET", **here, Sec_Fetch_Site="cross-site").status == 200, "a link may lead here"
    assert answer("POST", **here, Sec_Fetch_Site="same-origin").status == 200


def test_every_answer_tells_browsers_what_they_may_do() -> None:
    for found in (answer(), answer(Host="evil.example")):
        assert found.headers["content-security-policy"] == "policy"
        assert found.headers["x-content-type-options"] == "nosniff"
        assert found.headers["x-frame-options"] == "DENY"
        assert found.headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in found.headers
    assert answer().headers["x-own"] == "1"


def test_the_page_is_self_contained() -> None:
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:)""", PAGE)
    assert not re.findall(r"(?:https?:)?//(?!www\.w3\.org/2000/svg)[a-z]+\.[a-z]", PAGE)
    assert "innerHTML" not in PAGE
    assert not re.findall(r"<[^>]+\s(?:on[a-z]+|style)=", PAGE), "the policy forbids them"
    policy = page_policy()
    assert "unsafe" not in policy
    assert policy.count("'sha256-") == 2
