"""A real SMTP server that keeps what it was given, and can be away for a while."""

import email.parser
import email.policy
import threading

from aiosmtpd.controller import Controller

from service import free_port


class Sink:
    """What arrived: one entry a mail. Counts what came over one connection after another, also across `away` and `back`."""

    def __init__(self):
        self.port = free_port()
        self.lock = threading.Lock()
        self.mails = []
        self.controller = None
        self.answer = None  # (address, attempts so far) -> a reply other than 250, or None
        self.attempts = {}

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def back(self):
        self.controller = Controller(self, hostname="127.0.0.1", port=self.port, enable_SMTPUTF8=True, data_size_limit=2**22)
        self.controller.start()

    def away(self):
        if self.controller is not None:
            self.controller.stop()
            self.controller = None

    async def handle_RCPT(self, server, session, envelope, address, options):
        with self.lock:
            before = self.attempts[address] = self.attempts.get(address, 0) + 1
        said = self.answer and self.answer(address, before - 1)
        if said:
            return said
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        headers = email.parser.BytesParser(policy=email.policy.default).parsebytes(envelope.content, headersonly=True)
        mail = {
            "from": envelope.mail_from,
            "to": list(envelope.rcpt_tos),
            "id": str(headers["Message-ID"]),
            "headers": headers,
            "content": envelope.content,
        }
        with self.lock:
            self.mails.append(mail)
        return "250 OK"

    def count(self):
        with self.lock:
            return len(self.mails)

    def distinct(self):
        with self.lock:
            return len({(mail["to"][0], mail["id"]) for mail in self.mails})
