// Mail hosts that are too busy for any mail: `node e2e/busy-hosts.mjs N` listens on N free ports of loopback, and says which.
// Each greets, and answers 450 to every recipient, as a host does that finds us too fast.
import { once } from "node:events";
import { createServer } from "node:net";
import { createInterface } from "node:readline";

const ANSWERS = {
  EHLO: "250 busy.example",
  HELO: "250 busy.example",
  MAIL: "250 2.1.0 OK",
  RCPT: "450 4.7.1 too much mail from you, come back later",
  DATA: "503 5.5.1 no recipients",
  RSET: "250 2.0.0 OK",
  NOOP: "250 2.0.0 OK",
};

function greet(socket) {
  const say = (line) => socket.write(`${line}\r\n`);
  socket.on("error", () => socket.destroy());
  say("220 busy.example ESMTP");
  createInterface({ input: socket }).on("line", (line) => {
    const verb = line.slice(0, 4).toUpperCase();
    if (verb === "QUIT") socket.end("221 2.0.0 bye\r\n");
    else say(ANSWERS[verb] ?? "502 5.5.1 not known");
  });
}

const ports = [];
for (let n = 0; n < Number(process.argv[2] ?? 1); n += 1) {
  const server = createServer(greet).listen(0, "127.0.0.1");
  await once(server, "listening");
  ports.push(server.address().port);
}
console.log(`Busy ${ports.join(" ")}`);
