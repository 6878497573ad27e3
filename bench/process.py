"""Processes that a run starts and ends, free ports, and waiting for something to be so."""
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

WAIT_SECONDS_MAX = 120


def free_port():
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(what, is_so, seconds_max=WAIT_SECONDS_MAX, pause_s=0.02):
    """Waits until `is_so()`; a run that hangs ends here with what it waited for."""
    end = time.monotonic() + seconds_max
    while not is_so():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not so after {seconds_max} s")
        time.sleep(pause_s)


def wait_for_port(port, name, process=None, log=lambda: ""):
    """Waits until something listens on a port of loopback; a `process` that ended meanwhile is an error."""

    def listens():
        if process and process.poll() is not None:
            raise RuntimeError(f"{name} ended with {process.returncode}: {log()[-2000:]}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        except OSError:
            return False

    wait_until(f"{name} on port {port}", listens)


class Stage:
    """A temporary folder and the processes that live in it; leaving it ends them all and removes the folder."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="landfall-bench.")
        os.chmod(self.folder, 0o755)
        self.endings = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for end in reversed(self.endings):
            try:
                end()
            except Exception as error:  # the other endings have to run all the same
                print("ending:", error)
        shutil.rmtree(self.folder, ignore_errors=True)

    def path(self, *names):
        """A folder inside, made when it is not there."""
        path = os.path.join(self.folder, *names)
        os.makedirs(path, exist_ok=True)
        return path

    def write(self, name, text, mode=0o644):
        """A file inside; gives its path."""
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, mode)
        return path

    def start(self, name, command, **options):
        """Starts a process in the foreground of nobody; its output goes to NAME.log."""
        log = open(os.path.join(self.folder, f"{name}.log"), "ab")
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, **options)
        self.endings.append(lambda: end(process))
        return process

    def log(self, name):
        """What a process has said."""
        with open(os.path.join(self.folder, f"{name}.log"), encoding="utf-8", errors="replace") as file:
            return file.read()


def end(process):
    """Ends a process that we started."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
