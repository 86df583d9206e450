"""A small threading WSGI server, with TLS where a certificate is given, whose connections may be cut before the answer."""

from __future__ import annotations

import io
import socket
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def serve(app: Any, port: int, certificate: str = "-") -> None:
    """Serve on 127.0.0.1 for ever. An application that raises `ConnectionResetError` cuts the connection."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            path, _, query = self.path.partition("?")
            environ: dict[str, Any] = {
                "REQUEST_METHOD": self.command,
                "SCRIPT_NAME": "",
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REMOTE_ADDR": self.client_address[0],
                "SERVER_NAME": "localhost",
                "CONTENT_LENGTH": str(size) if size else "",
                "wsgi.url_scheme": "http" if certificate == "-" else "https",
                "wsgi.input": io.BytesIO(self.rfile.read(size)),
                "wsgi.errors": sys.stderr,
            }
            for name in {*self.headers}:
                if name.lower() not in ("content-length", "content-type"):
                    joiner = "; " if name.lower() == "cookie" else ", "
                    environ[f"HTTP_{name.upper().replace('-', '_')}"] = joiner.join(self.headers.get_all(name, []))
            started: list[Any] = []
            try:
                body = b"".join(app(environ, lambda status, headers, *rest: started.extend((status, headers))))
            except ConnectionResetError:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            status, headers = started[:2]
            self.send_response_only(int(status[:3]), status[4:])
            for name, value in headers:
                if name.lower() != "content-length":
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:  # http.server's name
            """Nothing is logged."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    if certificate != "-":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()
