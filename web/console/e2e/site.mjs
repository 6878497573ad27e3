// A server of a journey's own, beside those of scripts/test-console.sh: fresh, with a real Dovecot that keeps mailboxes, and the
// binary's command line on the same data.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { chmod, chown, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { need } from "./browser.mjs";

const BIN = need("LANDFALL_BIN", "the binary that scripts/test-console.sh tries");
/** What starts has started after this at the latest. */
const STARTED_MS = 60_000;
/** Who keeps the mail when root runs Dovecot, which refuses to keep root's. */
const MAIL_UID = 65_534;
export const DOMAIN = "example.org";
const MASTER = "landfall";
const MASTER_PASSWORD = "master secret";

/** The environment without what the journeys are told: the binary refuses variables of its prefix that it does not know. */
const clean = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("LANDFALL_")));

async function freePort() {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** Starts a program and waits for a line that matches; gives the child and the match. */
async function start(program, args, stream, wanted, env = {}) {
  const child = spawn(program, args, { env: { ...clean, ...env }, stdio: ["ignore", "pipe", "pipe"] });
  const said = [];
  const found = new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no ${wanted} from ${program}:\n${said.join("\n")}`)), STARTED_MS);
    for (const name of ["stdout", "stderr"]) {
      createInterface({ input: child[name] }).on("line", (line) => {
        said.push(line);
        const match = name === stream && wanted.exec(line);
        if (match) {
          clearTimeout(timer);
          resolve(match);
        }
      });
    }
    child.on("exit", (code) => reject(new Error(`${program} ended with ${code}:\n${said.join("\n")}`)));
  });
  return { child, match: await found, said };
}

async function sendMail(port, to, subject) {
  const socket = connect(port, "127.0.0.1");
  const lines = createInterface({ input: socket })[Symbol.asyncIterator]();
  const reply = async () => {
    for (;;) {
      const { value, done } = await lines.next();
      assert.ok(!done, "the server hung up");
      if (value[3] !== "-") return value;
    }
  };
  const say = async (text, code) => {
    if (text) socket.write(`${text}\r\n`);
    const answer = await reply();
    assert.ok(answer.startsWith(code), `${text}: ${answer}`);
  };
  await say("", "220");
  await say("EHLO client.example", "250");
  await say("MAIL FROM:<eve@client.example>", "250");
  await say(`RCPT TO:<${to}>`, "250");
  await say("DATA", "354");
  const head = `From: Eve <eve@client.example>\r\nTo: ${to}\r\nSubject: ${subject}\r\nMessage-ID: <${Date.now()}@client.example>\r\nDate: Mon, 23 Nov 2026 00:00:00 +0000`;
  await say(`${head}\r\n\r\nHello.\r\n.`, "250");
  await say("QUIT", "221");
  socket.end();
}

async function stop(child) {
  if (!child || child.exitCode !== null) return;
  const gone = once(child, "exit");
  child.kill("SIGTERM");
  await gone;
}

/** A Dovecot of our own on loopback: LMTP, IMAP, a master user; it can be stopped and started again on the same ports. */
export class Dovecot {
  static async prepare(dir, addresses) {
    const dovecot = new Dovecot();
    dovecot.dir = join(dir, "dovecot");
    await mkdir(join(dovecot.dir, "mail"), { recursive: true });
    await chmod(dir, 0o755); // its processes are several users
    dovecot.lmtp = await freePort();
    dovecot.imap = await freePort();
    const root = process.getuid() === 0;
    const [uid, gid] = root ? [MAIL_UID, MAIL_UID] : [process.getuid(), process.getgid()];
    if (root) await chown(join(dovecot.dir, "mail"), uid, gid);
    const user = (address) => `${address}:{PLAIN}owner:${uid}:${gid}::${join(dovecot.dir, "mail", address)}::\n`;
    await writeFile(join(dovecot.dir, "users"), addresses.map(user).join(""));
    await writeFile(join(dovecot.dir, "masters"), `${MASTER}:{PLAIN}${MASTER_PASSWORD}\n`);
    await writeFile(join(dovecot.dir, "dovecot.conf"), dovecot.configuration(root));
    return dovecot;
  }

  configuration(root) {
    const me = process.env.USER ?? "";
    const services = ["anvil", "auth", "config", "dict", "imap-login", "lmtp", "log", "ssl-params", "stats"];
    const users = root ? "" : `default_internal_user = ${me}\ndefault_internal_group = ${me}\ndefault_login_user = ${me}\n${services.map((s) => `service ${s} {\n  chroot =\n}\n`).join("")}`;
    return `base_dir = ${this.dir}/run
state_dir = ${this.dir}/state
log_path = /dev/stderr
protocols = imap lmtp
${users}
ssl = no
disable_plaintext_auth = no
first_valid_uid = 1
auth_failure_delay = 0
auth_master_user_separator = *
mail_location = maildir:~/Maildir
passdb {
  driver = passwd-file
  master = yes
  args = ${this.dir}/masters
}
passdb {
  driver = passwd-file
  args = ${this.dir}/users
}
userdb {
  driver = passwd-file
  args = ${this.dir}/users
}
namespace inbox {
  inbox = yes
  separator = /
}
service imap-login {
  inet_listener imap {
    address = 127.0.0.1
    port = ${this.imap}
  }
  inet_listener imaps {
    port = 0
  }
}
service lmtp {
  inet_listener lmtp {
    address = 127.0.0.1
    port = ${this.lmtp}
  }
}
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
`;
  }

  async start() {
    const program = ["/usr/sbin/dovecot", "/usr/local/sbin/dovecot"].find(existsSync);
    assert.ok(program, "Dovecot is not installed: scripts/setup.sh test");
    this.child = (await start(program, ["-F", "-c", join(this.dir, "dovecot.conf")], "stderr", /starting up/)).child;
  }

  async stop() {
    await stop(this.child);
    this.child = undefined;
  }
}

/** A server with a fresh data directory, and a Dovecot (not started yet) that keeps every mailbox of these addresses. */
export async function ownSite(addresses) {
  const dir = await mkdtemp(join(tmpdir(), "landfall-journey-"));
  const dovecot = await Dovecot.prepare(dir, addresses);
  await writeFile(join(dir, "master"), `${MASTER_PASSWORD}\n`);
  const env = {
    LANDFALL_SERVER_HOSTNAME: "mx.example",
    LANDFALL_ORGANISATION_DOMAINS: DOMAIN,
    LANDFALL_DNS_SERVER: "none",
    LANDFALL_SMTP_LISTEN: "127.0.0.1:0",
    LANDFALL_HTTP_LISTEN: "127.0.0.1:0",
    LANDFALL_IMAP_LISTEN: "127.0.0.1:0",
    LANDFALL_IMAP_LISTEN_TLS: "127.0.0.1:0",
    LANDFALL_SUBMISSION_LISTEN: "127.0.0.1:0",
    LANDFALL_SUBMISSION_LISTEN_TLS: "127.0.0.1:0",
    LANDFALL_CONNECTORS_DOVECOT_LMTP: `127.0.0.1:${dovecot.lmtp}`,
    LANDFALL_CONNECTORS_DOVECOT_IMAP: `127.0.0.1:${dovecot.imap}`,
    LANDFALL_CONNECTORS_DOVECOT_MASTER_USER: MASTER,
    LANDFALL_CONNECTORS_DOVECOT_MASTER_PASSWORD_FILE: join(dir, "master"),
    LANDFALL_MAILBOXES_CONNECTOR: "dovecot",
  };
  const data = join(dir, "data");
  const { child, match, said } = await start(BIN, ["serve", "--data", data], "stdout", /^First run.*: (http\S+)$/, env);
  const smtp = Number(/^SMTP .*:(\d+)\b/m.exec(said.join("\n"))?.[1]);
  return {
    link: match[1],
    url: new URL(match[1]).origin,
    /** One mail from outside, which must be accepted. */
    mail: (to, subject) => sendMail(smtp, to, subject),
    dovecot,
    /** `landfall …` on the same data, beside the server. */
    command: async (...args) => promisify(execFile)(BIN, [...args, "--data", data], { env: { ...clean, ...env } }),
    end: async () => {
      await stop(child);
      await dovecot.stop();
      await rm(dir, { recursive: true, force: true });
    },
  };
}
