"""A web server with many webhook endpoints: some answer, some refuse, some never say a word."""

import asyncio
import base64
import hashlib
import hmac
import threading
import time


class Endpoints:
    """`/well/N` answers 204, `/ill/N` answers 500, `/mute/N` takes the request and says nothing, `/gone/N` answers 410."""

    def __init__(self):
        self.lock = threading.Lock()
        self.deliveries = []
        self.mute_open = 0
        self.loop = asyncio.new_event_loop()
        self.ready = threading.Event()
        self.port = 0
        threading.Thread(target=self.serve, daemon=True).start()
        self.ready.wait(10)

    def serve(self):
        asyncio.set_event_loop(self.loop)

        async def begin():
            server = await asyncio.start_server(self.answer, "127.0.0.1", 0, backlog=2_000)
            self.port = server.sockets[0].getsockname()[1]
            self.ready.set()

        self.loop.run_until_complete(begin())
        self.loop.run_forever()

    async def answer(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                first, *lines = head.decode("latin-1").split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                path = first.split(" ")[1]
                with self.lock:
                    self.deliveries.append({"path": path, "headers": headers, "body": body, "at": time.monotonic()})
                kind = path.split("/")[1]
                if kind == "mute":
                    self.mute_open += 1
                    await reader.read()
                    self.mute_open -= 1
                    return
                status = {"well": "204 No Content", "ill": "500 Internal Server Error", "gone": "410 Gone"}[kind]
                writer.write(f"HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n".encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def of(self, kind, since=0):
        with self.lock:
            return [one for one in self.deliveries[since:] if one["path"].startswith(f"/{kind}/")]


def is_signed(delivery, secret):
    """Standard Webhooks: HMAC-SHA256 over id, time and body, under the part of the secret behind its prefix."""
    headers = delivery["headers"]
    signed = b".".join([headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), delivery["body"]])
    key = base64.b64decode(secret.removeprefix("whsec_"))
    expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return expected in headers["webhook-signature"].split(" ")
