"""A mail relay that encrypts: python3 smtp_tls.py implicit|starttls|injecting CERTIFICATE KEY.

Prints its port on 127.0.0.1, then one line for each mail that came whole: its recipients. Ends with its standard input.
`injecting` sends more behind the answer to STARTTLS, in the clear, as somebody on the way would.
"""

import os
import socket
import ssl
import sys
import threading


def serve(raw, mode, context):
    stream = raw
    if mode == "implicit":
        stream = context.wrap_socket(raw, server_side=True)
    lines = stream.makefile("rb")

    def say(text):
        stream.sendall(text.encode() + b"\r\n")

    encrypted, recipients = mode == "implicit", []
    say("220 relay")
    while line := lines.readline():
        verb = line[:4].upper()
        if verb == b"EHLO":
            offer = "" if encrypted else "250-STARTTLS\r\n"
            say(f"250-relay\r\n{offer}250 AUTH PLAIN")
        elif verb == b"STAR":
            more = "\r\n250-relay\r\n250 AUTH PLAIN" if mode == "injecting" else ""
            say("220 go on" + more)
            stream = context.wrap_socket(raw, server_side=True)
            lines, encrypted = stream.makefile("rb"), True
        elif verb == b"AUTH":
            say("235 welcome" if encrypted else "538 not in the clear")
        elif verb == b"RCPT":
            recipients.append(line[8:].strip().decode())
            say("250 ok")
        elif verb == b"DATA":
            say("354 go on")
            while lines.readline() not in (b".\r\n", b""):
                pass
            print("mail", *recipients, flush=True)
            recipients.clear()
            say("250 taken")
        elif verb == b"QUIT":
            say("221 bye")
            return
        else:
            say("250 ok")


def quietly(*arguments):
    try:
        serve(*arguments)
    except OSError:
        pass


def accept(listener, mode, context):
    while True:
        raw, _ = listener.accept()
        threading.Thread(target=quietly, args=(raw, mode, context), daemon=True).start()


def main():
    mode, certificate, key = sys.argv[1:]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    threading.Thread(target=accept, args=(listener, mode, context), daemon=True).start()
    sys.stdin.read()
    os._exit(0)


main()
