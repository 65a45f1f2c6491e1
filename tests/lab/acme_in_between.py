# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stands before the ACME server and spoils one step: what a client then sees is what real servers do.

Usage: acme_in_between.py PORT CERTIFICATE KEY limit|refuse|lose. Runs in the network of the ACME server's host.
"""

from __future__ import annotations

import http.client
import http.server
import json
import ssl
import sys

SERVER = ("127.0.0.1", 14000)
NAME = "acme.example.test:14000"
PROBLEM = "urn:ietf:params:acme:error:"
ANSWERS = {
    "limit": (429, {"type": PROBLEM + "rateLimited", "status": 429,
                    "detail": "too many certificates (5) already issued for this exact set of domains"}),
    "refuse": (403, {"type": PROBLEM + "rejectedIdentifier", "status": 403,
                     "detail": "policy forbids issuing for this name"}),
}


class Handler(http.server.BaseHTTPRequestHandler):
    """Passes everything on but what is to be spoiled."""

    protocol_version = "HTTP/1.1"
    mode = ""

    def do_HEAD(self):
        """A client wants a nonce."""
        self.pass_on()

    def do_GET(self):
        """A client reads the directory."""
        self.pass_on()

    def do_POST(self):
        """Everything else."""
        self.pass_on()

    def pass_on(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if "order" in self.path and "my-order" not in self.path and self.mode in ANSWERS:
            # With the nonce that a client needs to go on.
            status, problem = ANSWERS[self.mode]
            _status, headers, _content = self.ask("HEAD", "/nonce-plz", b"")
            text = json.dumps(problem).encode()
            self.answer(status, [("Content-Type", "application/problem+json")] + [
                (key, value) for key, value in headers if key.lower() == "replay-nonce"], text)
            return
        status, headers, content = self.ask(self.command, self.path, body)
        if "certZ" in self.path and self.mode == "lose":
            # It was issued, and the client will never know.
            self.log_message("issued, and the connection closed: %s", self.path)
            self.close_connection = True
            return
        self.answer(status, headers, content)

    def ask(self, verb, path, body):
        """What the real server says."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        server = http.client.HTTPSConnection(*SERVER, context=context, timeout=20)
        headers = {"Host": NAME, "User-Agent": "in between"}
        if body:
            headers["Content-Type"] = self.headers["Content-Type"]
        server.request(verb, path, body or None, headers)
        found = server.getresponse()
        return found.status, found.getheaders(), found.read()

    def answer(self, status, headers, content):
        """To the client."""
        self.send_response(status)
        for key, value in headers:
            if key.lower() not in ("content-length", "transfer-encoding", "connection", "date"):
                self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        sys.stderr.write(f"{self.mode}: {format % args}\n")


def main(port, certificate, key, mode):
    """Serve for ever."""
    Handler.mode = mode
    server = http.server.ThreadingHTTPServer(("0.0.0.0", int(port)), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
