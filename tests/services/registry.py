"""A schema registry for tests: it answers over HTTP what Confluent's answers to who looks up schemas."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


@dataclass
class Registry:
    """`schemas` by id, `subjects` by (subject, version); `user` is the one that is let in, if anybody is not. `broken`
    are the answers with that status which it gives before it answers as it should; `asked` are the paths."""

    address: str = ""
    schemas: dict[int, dict[str, Any]] = field(default_factory=dict)
    subjects: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    user: str = ""
    broken: list[int] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def add(self, number: int, avro: Any, references: Sequence[tuple[str, str, int]] = (), kind: str = "") -> None:
        """A schema, with the (name, subject, version) of others that it uses."""
        named = [{"name": name, "subject": subject, "version": version} for name, subject, version in references]
        told: dict[str, Any] = {"schema": avro if isinstance(avro, str) else json.dumps(avro)}
        told |= {"references": named} if named else {}
        told |= {"schemaType": kind} if kind else {}
        self.schemas[number] = told

    def answer(self, path: str, authorization: str | None) -> tuple[int, dict[str, Any]]:
        self.asked.append(path)
        if self.broken:
            return self.broken.pop(0), {}
        if self.user and authorization != "Basic " + base64.b64encode(self.user.encode()).decode():
            return 401, {"error_code": 401, "message": "Unauthorized"}
        match path.strip("/").split("/"):
            case ["schemas", "ids", number]:
                found, missing = self.schemas.get(int(number)), (40403, "Schema not found")
            case ["subjects", subject, "versions", version]:
                found, missing = self.subjects.get((subject, int(version))), (40401, f"Subject '{subject}' not found.")
            case _:
                found, missing = None, (404, "HTTP 404 Not Found")
        return (200, found) if found is not None else (404, {"error_code": missing[0], "message": missing[1]})


@contextmanager
def serving() -> Iterator[Registry]:
    registry = Registry()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = registry.answer(self.path, self.headers.get("Authorization"))
            told = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        def log_message(self, format: str, *args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        registry.address = f"http://127.0.0.1:{server.server_port}"
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield registry
        server.shutdown()
