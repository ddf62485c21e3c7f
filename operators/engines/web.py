"""The web server of an embedded worker: its pages at one address."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Final, NamedTuple

from operators.engines.pages import TEXT, Page, Pages
from operators.errors import TaskFailed

#: Every address of the machine.
EVERYWHERE: Final = "0.0.0.0"


class WebAddress(NamedTuple):
    """Where a worker's web server listens."""

    host: str
    port: int


@contextmanager
def shown(pages: Pages, at: WebAddress, where: str) -> Iterator[ThreadingHTTPServer]:
    """Serve the pages of `where` meanwhile, in a thread. TaskFailed if the port is taken."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 30

        def do_GET(self) -> None:
            page = pages.paths.get(self.path.partition("?")[0].rstrip("/"))
            told = Page(HTTPStatus.NOT_FOUND, TEXT, b"Not found\n") if page is None else page()
            self.send_response(told.status)
            self.send_header("Content-Type", told.kind)
            self.send_header("Content-Length", str(len(told.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(told.body)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: Any) -> None:
            """Who asks is nothing for the program's log."""

    try:
        server = ThreadingHTTPServer(at, Handler)
    except OSError as error:
        raise port_taken(at.port, where) from error
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, args=(0.1,), name="headwater-web", daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def port_taken(port: int, where: str) -> TaskFailed:
    return TaskFailed(
        f"The web server's port {port} is taken",
        where=where,
        fix="Name another with --web-port (web_port=), or none with --web-port 0: workers of one machine need "
        "one each.",
    )
