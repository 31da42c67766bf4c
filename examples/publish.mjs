// Publish one mail from Node, without packages: node examples/publish.mjs
//
// With the package nats it is less: await js.publish("mail.send.normal", body, { msgID }).
import net from "node:net";

const url = new URL(process.env.NATS_URL ?? "nats://127.0.0.1:4222");
const body = Buffer.from(JSON.stringify({
  from: "Shop <shop@example.com>",
  to: ["Ann <ann@example.net>"],
  subject: "Grüße from Node",
  text: "Your order has been sent.",
}));
const header = Buffer.from(`NATS/1.0\r\nNats-Msg-Id: order-17-${process.pid}\r\n\r\n`);
const inbox = `_INBOX.mail-${process.pid}`;

const fail = (why) => { console.error(why); process.exit(1); };
const conn = net.connect({ host: url.hostname, port: url.port || 4222 });
conn.setTimeout(10_000, () => fail("the broker does not answer"));
conn.on("error", (err) => fail(err.message));
conn.on("close", () => fail("the broker hung up"));

const options = { verbose: false, headers: true, no_responders: true, lang: "node", version: "1" };
conn.write(`CONNECT ${JSON.stringify(options)}\r\nSUB ${inbox} 1\r\n`);
conn.write(`HPUB mail.send.normal ${inbox} ${header.length} ${header.length + body.length}\r\n`);
conn.write(Buffer.concat([header, body, Buffer.from("\r\n")]));

let got = "";
conn.on("data", (data) => {
  got += data;
  if (/^PING\r\n/m.test(got)) conn.write("PONG\r\n");
  if (/^(HMSG|-ERR)/m.test(got)) fail("nobody takes mail.send.normal: is a worker running?");
  const answer = /^MSG .*\r\n(.*)\r\n/m.exec(got); // the broker's word that the mail is stored, or why not
  if (!answer) return;
  const ack = JSON.parse(answer[1]);
  if (ack.error) fail(ack.error.description);
  console.log("queued", ack.stream, ack.seq);
  process.exit(0);
});
