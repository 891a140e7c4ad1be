#!/usr/bin/env python3
"""`make contract`: schemathesis against the real binary with its own OpenAPI document.

Makes a virtual environment in target/contract from requirements.txt, starts the binary on a free
port of loopback with an empty data directory, and runs. Fails on a server error, an answer that
the document does not describe, or fewer requests than asked for.

Environment: KWQ_CONTRACT_BIN (binary), KWQ_CONTRACT_SEED (repeat a run), KWQ_CONTRACT_REQUESTS.
"""

import hashlib
import json
import os
import pathlib
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
HOME = ROOT / "target" / "contract"
BINARY = pathlib.Path(os.environ.get("KWQ_CONTRACT_BIN", ROOT / "target" / "debug" / "kwq"))
REQUESTS = int(os.environ.get("KWQ_CONTRACT_REQUESTS", "10000"))
SECONDS_MAX = 360
STARTED = time.monotonic()
SEED = os.environ.get("KWQ_CONTRACT_SEED") or str(secrets.randbelow(1 << 32))
CHECKS = ",".join(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    ]
)
ROLES = ["submit", "work", "view", "payload", "operate", "admin"]
TOKEN = "kwq_contract_0123456789abcdef0123456789abcdef"


def environment():
    """The virtual environment for these requirements; made once."""
    wanted = hashlib.sha256((HERE / "requirements.txt").read_bytes()).hexdigest()
    mark = HOME / "made-for"
    if not (mark.exists() and mark.read_text() == wanted):
        shutil.rmtree(HOME, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(HOME)], check=True)
        pip = [str(HOME / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", str(HERE / "requirements.txt")], check=True)
        mark.write_text(wanted)
    return HOME / "bin"


class Server:
    """The binary on a free port, with nothing of the caller's settings."""

    def __init__(self, folder, tokens=False):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        self.log = folder / "server.log"
        kept = {k: v for k, v in os.environ.items() if not k.startswith("KWQ_")}
        sets = ["poll.default-wait=20ms", "log.durability=os"]
        sets.append(f"simulator.enabled={str(not tokens).lower()}")
        if tokens:
            line = {"name": "all", "roles": ROLES}
            line["sha256"] = hashlib.sha256(TOKEN.encode()).hexdigest()
            (folder / "tokens").write_text(json.dumps(line) + "\n")
            sets.append(f"auth.tokens-file={folder / 'tokens'}")
        command = [str(BINARY), "serve", "--listen", self.url.removeprefix("http://")]
        command += ["--data-dir", str(folder / "data")]
        for pair in sets:
            command += ["--set", pair]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, cwd=folder, env=kept, stdout=log, stderr=log)
        self.wait()
        # It was asked before it was ready, and said so with 503.
        self.before = self.totals()

    def wait(self):
        until = time.monotonic() + 30
        while time.monotonic() < until and self.process.poll() is None:
            try:
                self.get("/readyz")
                return
            except OSError:
                time.sleep(0.1)
        sys.exit(f"the server is not ready:\n{self.log.read_text()}")

    def get(self, path):
        request = urllib.request.Request(self.url + path)
        request.add_header("Authorization", f"Bearer {TOKEN}")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read().decode()

    def counted(self):
        """Requests, and those answered with a server error, as the server counted them."""
        return [now - before for now, before in zip(self.totals(), self.before)]

    def totals(self):
        total = errors = 0
        for line in self.get("/metrics").splitlines():
            match = re.match(r"kwq_http_request_seconds_count\{(.*)\} (\d+)", line)
            if match:
                total += int(match[2])
                errors += int(match[2]) if re.search(r'code="?5', match[1]) else 0
        return total, errors

    def stop(self):
        """Ends it as an operator does; it must end well."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            sys.exit("the server did not stop")
        text = self.log.read_text()
        if code != 0 or "panicked" in text:
            sys.exit(f"the server ended with {code}:\n{text[-4000:]}")


def same_document(tools, server, folder):
    """The YAML is the JSON."""
    for kind in ("json", "yaml"):
        (folder / f"openapi.{kind}").write_text(server.get(f"/openapi.{kind}"))
    script = "import json,sys,yaml;sys.exit(json.load(open('openapi.json'))!=yaml.load("
    script += "open('openapi.yaml'),yaml.CSafeLoader))"
    if subprocess.run([str(tools / "python"), "-c", script], cwd=folder).returncode != 0:
        sys.exit("/openapi.yaml is not the document of /openapi.json")


def schemathesis(tools, server, folder, *options):
    command = [str(tools / "schemathesis"), "run", f"{server.url}/openapi.json", "--url", server.url]
    # One worker: threads of Python 3.11 and older cannot parse at the same time (gh-106905).
    command += ["--checks", CHECKS, "--seed", SEED, "--no-color", "--workers", "1"]
    command += ["--suppress-health-check", "all", "--request-timeout", "20", "--no-shrink"]
    command += ["--generation-database", "none", "--continue-on-failure", "--warnings", "off"]
    settings = {**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE)}
    settings["PYTHONDONTWRITEBYTECODE"] = "1"
    left = max(1, STARTED + SECONDS_MAX - time.monotonic())
    try:
        run = subprocess.run([*command, *options], cwd=folder, env=settings, timeout=left)
    except subprocess.TimeoutExpired:
        sys.exit(f"not done after {SECONDS_MAX} s")
    return run.returncode


def main():
    tools = environment()
    print(f"seed {SEED} (KWQ_CONTRACT_SEED)", flush=True)
    failed, requests = False, 0
    # Open to everybody: every phase. With tokens: as somebody who may everything, and as nobody.
    bearer = ["--header", f"Authorization: Bearer {TOKEN}"]
    examples = ["--max-examples", str(max(1, REQUESTS // 250))]
    # One answers when its tasks have ended, which paused levels and other workers may put off; of
    # the others one ends when a job has, one never.
    streams = "^/kwq/jobs/[^/]+/events|^/kwq/events"
    examples += ["--exclude-path-regex", f"^/kwq/simulate/|{streams}"]
    bearer += ["--exclude-path-regex", streams]
    runs = [
        (False, [examples]),
        (True, [[*bearer, "--phases", "coverage"], ["--phases", "examples,fuzzing", "-n", "3"]]),
    ]
    for tokens, calls in runs:
        with tempfile.TemporaryDirectory(prefix="kwq-contract-") as name:
            folder = pathlib.Path(name)
            server = Server(folder, tokens)
            same_document(tools, server, folder)
            for options in calls:
                failed |= schemathesis(tools, server, folder, *options) != 0
            total, errors = server.counted()
            server.stop()
            requests += total
            if errors:
                print(f"{errors} server errors were counted", flush=True)
                failed = True
    print(f"{requests} requests in {time.monotonic() - STARTED:.0f} s", flush=True)
    if requests < REQUESTS:
        sys.exit(f"at least {REQUESTS} were wanted")
    sys.exit(failed)


if __name__ == "__main__":
    main()
