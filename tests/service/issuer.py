"""Identity providers: a real one (nanoidp) in a process of its own, and one whose every answer the test decides."""

import base64
import hashlib
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import yaml
from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, SECRET = "whetstone", "a-secret"
USERS = {"ada": "ada@example.com", "bob": "bob@example.com", "eve": "eve@example.com"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def nanoidp(folder: Path, back: str) -> Iterator[str]:
    """The issuer's address. It has the users above, insists on PKCE (its profile oauth21) and leads to `back` alone."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    client = {"client_id": CLIENT, "client_secret": SECRET, "redirect_uris": [back]}
    settings = {
        "config_version": 1,
        "server": {"host": "127.0.0.1", "port": port},
        "oauth": {"issuer": url, "audience": "x", "token_expiry_minutes": 5, "clients": [client]},
    }
    users = {name: {"password": f"{name}'s password", "email": email} for name, email in USERS.items()}
    (folder / "settings.yaml").write_text(yaml.safe_dump(settings))
    (folder / "users.yaml").write_text(yaml.safe_dump({"config_version": 1, "users": users}))
    command = [sys.executable, "-m", "nanoidp", "--config", str(folder), "--port", str(port), "--profile", "oauth21"]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as process:
        try:
            _wait(f"{url}/.well-known/openid-configuration", folder / "log")
            yield url
        finally:
            process.terminate()


def _wait(url: str, log: Path) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            if httpx.get(url).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(log.read_text())


def consent(address: str, name: str) -> str:
    """Fill in the real provider's form, as a browser would; returns where it sends the browser back to."""
    with httpx.Client() as browser:
        page = browser.get(address)
        hidden = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]+)"', page.text))
        answer = browser.post(address, data=hidden | {"username": name, "password": f"{name}'s password"})
        assert answer.status_code in (302, 303), answer.text
        return answer.headers["location"]


@dataclass
class Forger:
    """A provider that says whatever it is told to. `claims` and `info` are put over what would be right."""

    url: str
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "one", "use": "sig"}))
    signing_key: RSAKey | None = None
    claims: dict[str, Any] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)
    asked: dict[str, str] = field(default_factory=dict)
    broken: bool = False

    def begin(self, address: str) -> str:
        """Take up a sign-in; returns the state that it goes back with."""
        self.asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        return self.asked["state"]

    def answer(self, path: str, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        match path:
            case "/.well-known/openid-configuration":
                names = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
                known = {name: f"{self.url}/{end}" for name, end in names.items()}
                return 200, known | {"issuer": self.url, "userinfo_endpoint": f"{self.url}/info"}
            case "/keys":
                return 200, {"keys": [self.key.as_dict(private=False)]}
            case "/token":
                return self._token(form, authorization)
            case "/info":
                return 200, {"sub": "subject"} | self.info
        return 404, {}

    def _token(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=")
        assert authorization.startswith("Basic ")
        if challenge.decode() != self.asked["code_challenge"] or self.broken:
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        right = {"iss": self.url, "sub": "subject", "aud": CLIENT, "iat": now, "exp": now + 60}
        claims = right | {"nonce": self.asked["nonce"]} | self.claims
        claims = {name: value for name, value in claims.items() if value is not None}
        header = {"alg": "RS256", "kid": (self.signing_key or self.key).kid}
        return 200, {"access_token": "x", "id_token": jwt.encode(header, claims, self.signing_key or self.key)}


@contextmanager
def forging() -> Iterator[Forger]:
    forger = Forger("")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._answer({name: values[0] for name, values in parse_qs(body).items()})

        def _answer(self, form: dict[str, str]) -> None:
            status, said = forger.answer(self.path, form, self.headers.get("Authorization", ""))
            content = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    forger.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield forger
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
