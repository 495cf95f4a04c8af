"""Who may ask, by which name, and what a line of the log can hold."""

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from refinenet_jax.inference.serve.guard import Guard


def _client(host, *names):
    return TestClient(Guard(PlainTextResponse("there"), host, names), base_url="http://localhost:8000")


@pytest.mark.parametrize(
    ("listening", "names", "host", "status"),
    [
        ("127.0.0.1", (), "localhost", 200),
        ("127.0.0.1", (), "localhost:8000", 200),
        ("127.0.0.1", (), "LOCALHOST:8000", 200),
        ("127.0.0.1", (), "127.0.0.1:8000", 200),
        ("127.0.0.1", (), "[::1]:8000", 200),
        ("127.0.0.1", (), "evil.example", 421),
        ("127.0.0.1", (), "localhost.evil.example", 421),
        ("127.0.0.1", (), "localhost@evil.example", 421),
        ("127.0.0.1", (), "evil.example:localhost", 421),
        ("127.0.0.1", (), "192.168.1.7", 421),
        ("127.0.0.1", (), "", 421),
        ("127.0.0.1", (), "[", 421),
        ("127.0.0.1", ("hands.lan",), "hands.lan:80", 200),
        ("0.0.0.0", (), "192.168.1.7:8000", 200),  # no site can make an address in numbers its own name
        ("0.0.0.0", (), "[fe80::1]:8000", 200),
        ("0.0.0.0", (), "evil.example", 421),
        ("hands.lan", (), "hands.lan", 200),
    ],
)
def test_only_names_of_this_server_are_answered(listening, names, host, status):
    response = _client(listening, *names).get("/", headers={"Host": host})
    assert response.status_code == status
    if status == 421:
        assert "--allow-host=NAME" in response.json()["error"]


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:8000", 200),
        ("http://localhost:3000", 403),
        ("http://localhost", 403),
        ("https://evil.example", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_pages_of_other_sites_are_not_answered(origin, status):
    client = _client("127.0.0.1")
    assert client.post("/", headers={"Origin": origin}).status_code == status


def test_every_answer_keeps_browsers_from_what_they_should_not_do():
    client = _client("127.0.0.1")
    for response in (client.get("/"), client.get("/", headers={"Host": "evil.example"})):
        assert response.headers["content-security-policy"].startswith("default-src 'none'; ")
        assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cross-origin-resource-policy"] == "same-origin"
        assert response.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in response.headers


def test_a_request_is_a_line(capsys):
    client = _client("127.0.0.1")
    client.get("/one")
    client.get("/%1b[31m%0aPOST /two 200" + "x" * 500, headers={"Host": "evil.example"})
    first, second = capsys.readouterr().err.splitlines()
    assert " GET /one 200 " in first
    assert "%1B%5B31m%0APOST" in second
    assert " 421 " in second
    assert len(second) < 150
