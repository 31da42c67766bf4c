#!/bin/sh
# Publish one mail with the nats CLI: sh examples/publish.sh
# What it prints is the broker's word that the mail is stored.
set -eu
nats --server "${NATS_URL:-nats://127.0.0.1:4222}" request mail.send.normal --raw -H "Nats-Msg-Id:order-17-$$" '{
  "from": "Shop <shop@example.com>",
  "to": ["Ann <ann@example.net>"],
  "subject": "Grüße from the shell",
  "text": "Your order has been sent."
}'
