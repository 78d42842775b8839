"""An object store to test against: moto's S3 server in a process of its own, and a proxy that makes it fail."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BUCKET = "kept"


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def storage(port):
    """The settings under which a lab finds it."""
    return {
        "endpoint": f"http://127.0.0.1:{port}",
        "access_key_id": "a",
        "secret_access_key": "b",
        "region": "us-east-1",
    }


class Server:
    """moto's server; it keeps nothing when it is killed."""

    def __init__(self):
        self.port = free_port()
        self.start()

    def start(self):
        command = [sys.executable, "-m", "moto.server", "-p", str(self.port)]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                self.ask("PUT", f"/{BUCKET}")
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def ask(self, method, path, body=b"", headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, dict(answer.getheaders()), data

    def kill(self):
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def close(self):
        if self._process.poll() is None:
            self.kill()


class Proxy(ThreadingHTTPServer):
    """Stands before a server: `fault(method, path, number)` gives None, or (status, body) instead of its answer.

    `flip`: of what is written under such a path one bit is changed on the way.
    """

    daemon_threads = True

    def __init__(self, server):
        super().__init__(("127.0.0.1", 0), Passing)
        self.behind, self.port = server, self.server_address[1]
        self.requests, self.fault, self.flip = 0, lambda *_: None, None
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def passed_on(self, method, path, headers, body):
        """(status, headers, body) of the server behind, or of the fault."""
        self.requests += 1
        told = self.fault(method, path, self.requests)
        if told is not None:
            return told[0], {}, told[1]
        if method == "PUT" and self.flip and self.flip in path:
            body = bytes([body[0] ^ 1]) + body[1:]
        own = ("host", "connection", "content-length")
        kept = {name: value for name, value in headers.items() if name.lower() not in own}
        return self.behind.ask(method, path, body, kept)

    def close(self):
        self.shutdown()
        self.server_close()


class Passing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        told = self.server.passed_on(self.command, self.path, self.headers, body)
        status, headers, data = told
        self.send_response(status)
        own = ("content-length", "connection", "transfer-encoding", "date", "server")
        for name, value in headers.items():
            if name.lower() not in own:
                self.send_header(name, value)
        bare = self.command == "HEAD"
        self.send_header("Content-Length", headers.get("Content-Length", 0) if bare else len(data))
        self.end_headers()
        if not bare:
            self.wfile.write(data)


for _method in ("GET", "PUT", "HEAD", "DELETE", "POST"):
    setattr(Passing, f"do_{_method}", Passing.answer)
