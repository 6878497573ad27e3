"""Load from Postfix's own tools, the same for everybody who is measured."""
import re
import subprocess

from process import free_port, wait_for_port

SENDER = "news@sender.example"
WORDS = ("quarter result customer office garden market people travel meeting project budget winter summer "
         "service product planning window coffee train letter answer question morning evening").split()


def html_mail(size_bytes=8192, recipient="someone@bench.example"):
    """A newsletter of about `size_bytes`: plain text and HTML, a few links."""
    text, n = [], 0
    while sum(map(len, text)) < size_bytes * 0.62:
        words = " ".join(WORDS[(n * 7 + i * i) % len(WORDS)] for i in range(14))
        text.append(f'<p style="margin:0 0 12px">{words.capitalize()}, <a href="https://www.sender.example/a{n % 6}">{WORDS[n % len(WORDS)]}</a>.</p>')
        n += 1
    plain = "\n".join(" ".join(WORDS[(i + k) % len(WORDS)] for k in range(10)) for i in range(int(size_bytes * 0.3 / 70)))
    return f"""From: Sender News <{SENDER}>
To: <{recipient}>
Subject: The news of this week
Date: Mon, 02 Nov 2026 10:00:00 +0000
Message-ID: <{size_bytes}.{n}@sender.example>
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary="b1"

--b1
Content-Type: text/plain; charset=utf-8

{plain}

--b1
Content-Type: text/html; charset=utf-8

<html><body>
{chr(10).join(text)}
</body></html>

--b1--
"""


class Source:
    """`connections` runs of smtp-source, one connection each with a recipient and one of `files`, that send `count` mails
    in all. Every mail has a connection of its own: that is how strangers send. `kept`: each run keeps its connection, as a
    relay in front does."""

    def __init__(self, stage, port, files, count, connections, recipient, sender=SENDER, kept=False):
        self.processes = []
        for n in range(connections):
            share = count // connections + (1 if n < count % connections else 0)
            command = ["smtp-source", "-s", "1", "-m", str(share), "-f", sender, "-t", recipient(n), "-F", files[n % len(files)],
                       "-M", "mx.sender.example", "-C", "20", *(["-d"] if kept else []), f"inet:127.0.0.1:{port}"]
            log = open(f"{stage.folder}/source.{n}.log", "ab")
            self.processes.append(subprocess.Popen(command, stdout=log, stderr=log))
        stage.endings.append(self.end)

    def wait(self):
        """Until everything was sent and answered with 250; smtp-source ends with an error at any other reply."""
        for process in self.processes:
            if process.wait(600) != 0:
                raise RuntimeError(f"smtp-source ended with {process.returncode}: a reply was not 250")

    def end(self):
        """Ends what is left."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()


class Sink:
    """smtp-sink; `options` such as `-r RCPT` make it refuse."""

    def __init__(self, stage, name, *options):
        self.port, self.stage, self.name = free_port(), stage, name
        command = ["smtp-sink", "-u", "nobody", "-c", *options, f"inet:127.0.0.1:{self.port}", "1024"]
        stage.start(name, command)
        wait_for_port(self.port, "smtp-sink")

    def received(self):
        """How many messages it has taken."""
        counts = re.findall(r"mesg=(\d+)", self.stage.log(self.name)[-400:])
        return int(counts[-1]) if counts else 0
