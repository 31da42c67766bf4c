"""Publish one mail from Python, with its standard library: python3 examples/publish.py

It uses no credentials: the broker of a worker on this machine needs none. For another one
use the package nats-py: await js.publish("mail.send.normal", body).
"""

import json
import os
import socket
from urllib.parse import urlparse

url = urlparse(os.environ.get("NATS_URL", "nats://127.0.0.1:4222"))
body = json.dumps({
    "from": "Shop <shop@example.com>",
    "to": ["Ann <ann@example.net>"],
    "subject": "Grüße from Python",
    "text": "Your order has been sent.",
}).encode()
header = f"NATS/1.0\r\nNats-Msg-Id: order-17-{os.getpid()}\r\n\r\n".encode()

inbox = b"_INBOX.mail-%d" % os.getpid()

try:
    conn = socket.create_connection((url.hostname, url.port or 4222), timeout=10)
except OSError as error:
    raise SystemExit(f"nothing answers at {url.hostname}:{url.port or 4222}: {error}; is a worker running?")

with conn:
    lines = conn.makefile("rb")
    options = {"verbose": False, "headers": True, "no_responders": True, "lang": "python", "version": "1"}
    conn.sendall(b"CONNECT %s\r\nSUB %s 1\r\n" % (json.dumps(options).encode(), inbox))
    conn.sendall(b"HPUB mail.send.normal %s %d %d\r\n%s%s\r\n" % (inbox, len(header), len(header) + len(body), header, body))
    for line in lines:
        word = line.split()[0]
        if word == b"PING":
            conn.sendall(b"PONG\r\n")
        elif word == b"MSG":  # the broker's word that the mail is stored, or why not
            ack = json.loads(lines.readline())
            if "error" in ack:
                raise SystemExit(ack["error"]["description"])
            print("queued", ack["stream"], ack["seq"])
            break
        elif word == b"-ERR":
            raise SystemExit("the broker refuses: " + line[len(word):].decode().strip())
        elif word == b"HMSG":
            raise SystemExit("nobody takes mail.send.normal: is a worker running?")
    else:
        raise SystemExit("the broker hung up")
