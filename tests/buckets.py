"""Object stores to test against, in processes of their own, and a proxy that makes one fail or completes what it says.

moto is S3, `azurite` (npm) is Azure, `gcp-storage-emulator` is Google's; the last two may be absent.
"""

import base64
import hmac
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from email.utils import formatdate
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
        self._process = subprocess.Popen(
            self.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                self.make_bucket()
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def command(self):
        return [sys.executable, "-m", "moto.server", "-p", str(self.port)]

    def make_bucket(self):
        self.ask("PUT", f"/{BUCKET}")

    @property
    def storage(self):
        return storage(self.port)

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


class Azure(Server):
    """Azurite, an emulator of Azure's blobs: npm install -g azurite, or its path in CRUCIBLE_AZURITE."""

    COMMAND = os.environ.get("CRUCIBLE_AZURITE") or shutil.which("azurite-blob")
    ACCOUNT = "devstoreaccount1"
    KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    """Of every emulator: learn.microsoft.com, "Connect to Azurite"."""

    def command(self):
        return [self.COMMAND, "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry",
                "--blobPort", str(self.port)]  # fmt: skip

    def make_bucket(self):
        date = formatdate(usegmt=True)
        named = f"x-ms-date:{date}\nx-ms-version:2021-08-06"
        resource = f"/{self.ACCOUNT}/{self.ACCOUNT}/{BUCKET}\nrestype:container"
        signed = "PUT" + "\n" * 12 + f"{named}\n{resource}"
        digest = hmac.digest(base64.b64decode(self.KEY), signed.encode(), "sha256")
        headers = dict(line.split(":", 1) for line in named.split("\n"))
        headers["Authorization"] = f"SharedKey {self.ACCOUNT}:{base64.b64encode(digest).decode()}"
        headers["Content-Length"] = "0"
        answer = self.ask("PUT", f"/{self.ACCOUNT}/{BUCKET}?restype=container", headers=headers)
        assert answer[0] == 201, answer

    @property
    def storage(self):
        return {
            "account_name": self.ACCOUNT,
            "account_key": self.KEY,
            "endpoint": f"http://127.0.0.1:{self.port}/{self.ACCOUNT}",
        }


class Google(Server):
    """gcp-storage-emulator behind a proxy, which answers what it leaves out of the XML interface: ETag, DELETE."""

    def command(self):
        words = ["start", "--host=127.0.0.1", f"--port={self.port}", "--in-memory"]
        return [sys.executable, "-m", "gcp_storage_emulator", *words, f"--default-bucket={BUCKET}"]

    def start(self):
        super().start()
        self.proxy = Proxy(self)

    def make_bucket(self):
        self.ask("GET", "/")

    def ask(self, method, path, body=b"", headers=None):
        if method == "DELETE":
            path = f"/storage/v1/b/{BUCKET}/o/{path.removeprefix(f'/{BUCKET}/')}"
        status, told, data = super().ask(method, path, body, headers)
        told = {"Last-Modified": formatdate(usegmt=True), "ETag": '"1"', **told}
        return status, told, data

    def close(self):
        self.proxy.close()
        super().close()

    @property
    def storage(self):
        empty = dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
        key = {
            "gcs_base_url": f"http://127.0.0.1:{self.proxy.port}",
            "disable_oauth": True,
            **empty,
        }
        return {"service_account_key": json.dumps(key)}


class Proxy(ThreadingHTTPServer):
    """Stands before a server: `fault(method, path, number)` gives None, or (status, body) instead of its answer.

    `flip`: of what is written under such a path one bit is changed on the way. `cut`: of what is read under such
    a path the last byte is lost: of the first so many readings.
    """

    daemon_threads = True

    def __init__(self, server):
        super().__init__(("127.0.0.1", 0), Passing)
        self.behind, self.port = server, self.server_address[1]
        self.requests, self.fault, self.flip = 0, lambda *_: None, None
        self.cut, self.cuts = None, 0
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
        answer = self.behind.ask(method, path, body, kept)
        if method == "GET" and self.cut and self.cut in path and self.cuts and answer[2]:
            self.cuts -= 1
            return *answer[:2], answer[2][:-1]
        return answer

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
