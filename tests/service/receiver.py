"""A receiver of webhooks: a real HTTP server whose answers the test decides."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, str], bytes]
GOOD: Answer = (200, {}, b"thanks")


@dataclass(frozen=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """`decide` answers each request; the answers of a script come first."""

    url: str = ""
    got: list[Received] = field(default_factory=list)
    script: list[Answer] = field(default_factory=list)
    decide: Callable[[Received], Answer] = lambda _: GOOD

    def answer(self, received: Received) -> Answer:
        self.got.append(received)
        return self.script.pop(0) if self.script else self.decide(received)

    def at(self, path: str) -> list[Received]:
        return [received for received in self.got if received.path == path]


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, extra, content = receiver.answer(Received(self.path, headers, body))
            self.send_response(status)
            for name, value in (extra | {"Content-Length": str(len(content))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """A sender that was killed, or gave up, is no error of ours."""

    with Server(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
