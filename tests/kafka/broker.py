#!/usr/bin/env python3
"""A real Apache Kafka, on loopback unless told otherwise, for tests and development.

    broker.py run [--brokers N] [--dir DIR] [--host IP] [--seconds S]
                                              until stdin ends, SIGTERM or Ctrl-C
    broker.py exec [--brokers N] [--dir DIR] [--host IP] -- COMMAND…
                                              while the command runs; its exit code
    broker.py fetch                           only bring the jars

`run` prints `ready HOST:PORT[,HOST:PORT]` once every broker answers, then takes a line at a time on
stdin and answers each with `done` or `failed WHY`:

    kill N | term N | stop N | cont N | start N    signals to, or a new start of, broker N (from 1)

`exec` tells the command by KWQ_TEST_KAFKA and KWQ_TEST_LOG_KAFKA where the brokers are.

Each broker is broker and controller in one process (KRaft). Jars come from Maven Central into
target/kafka/<version> once; what a cluster keeps lies in a fresh folder that is removed at the end.
Needs java (11 or newer) and mvn. Stops only the processes it has started, by id.
"""

import argparse
import base64
import contextlib
import ctypes
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid

VERSION = "4.3.1"
# With slf4j2-impl the broker says nothing: it uses slf4j 1.7.
ARTEFACTS = [
    ("org.apache.kafka", "kafka_2.13", VERSION),
    ("org.apache.logging.log4j", "log4j-core", "2.26.1"),
    ("org.apache.logging.log4j", "log4j-slf4j-impl", "2.26.1"),
]
ROOT = pathlib.Path(__file__).resolve().parents[2]
JARS = ROOT / "target" / "kafka" / VERSION
READY = "Kafka Server started"
START_LIMIT_S = 120
# Of brokers; Linux gives 32768 and more to connections.
PORTS = (10_000, 32_000)
PORTS_TRIED = 200
STOP_LIMIT_S = 10

LOGGING = """Configuration:
  appenders:
    Console:
      name: out
      PatternLayout: {pattern: "%d %p %c %m%n"}
  Loggers:
    Root: {level: WARN, AppenderRef: {ref: out}}
    Logger:
      - {name: kafka.server, level: INFO}
"""


class Failure(Exception):
    """What is wrong, and what to do."""


def fetch():
    """Brings the jars, once."""
    if (JARS / "complete").exists():
        return
    for tool in ("java", "mvn"):
        if shutil.which(tool) is None:
            raise Failure(f"{tool} is missing; on Debian: apt-get install default-jdk-headless maven")
    JARS.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=JARS.parent) as scratch:
        scratch = pathlib.Path(scratch)
        wanted = "".join(
            f"<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId>"
            f"<version>{version}</version></dependency>"
            for group, name, version in ARTEFACTS
        )
        (scratch / "pom.xml").write_text(
            "<project><modelVersion>4.0.0</modelVersion><groupId>kwq</groupId>"
            "<artifactId>kafka-for-tests</artifactId><version>1</version>"
            f"<packaging>pom</packaging><dependencies>{wanted}</dependencies></project>"
        )
        libs = scratch / "libs"
        command = ["mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={libs}"]
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = (done.stdout + done.stderr).strip()[-2000:]
            raise Failure(f"Kafka cannot be fetched from Maven Central:\n{said}")
        (libs / "complete").touch()
        try:
            libs.rename(JARS)
        except OSError:
            # Somebody else was faster.
            if not (JARS / "complete").exists():
                raise


def free_ports(host, count):
    """Ports that nobody has now, all different. Below those the system gives to connections: while
    a broker is down, one of its clients' own connections could be given its port."""
    candidates = random.sample(range(*PORTS), PORTS_TRIED)
    with contextlib.ExitStack() as held:
        found = []
        for port in candidates:
            one = held.enter_context(socket.socket())
            try:
                one.bind((host, port))
            except OSError:
                continue
            found.append(port)
            if len(found) == count:
                return found
    raise Failure(f"no {count} free ports on {host}")


PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


def end_with_parent():
    """In the child: whoever kills this script leaves no broker behind."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Broker:
    """One process."""

    def __init__(self, number, home, address, controller):
        self.number, self.home = number, home / f"broker-{number}"
        self.address, self.controller = address, controller
        self.process = None
        self.log = self.home / "kafka.log"

    def configure(self, voters, brokers):
        """Writes its settings."""
        self.home.mkdir(parents=True)
        copies = min(brokers, 3)
        settings = {
            "process.roles": "broker,controller",
            "node.id": self.number,
            "controller.quorum.voters": voters,
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://{self.controller}",
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": self.home / "data",
            "auto.create.topics.enable": "false",
            "group.initial.rebalance.delay.ms": 0,
            "offsets.topic.num.partitions": 3,
            "transaction.state.log.num.partitions": 3,
            "offsets.topic.replication.factor": copies,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": max(1, copies - 1),
            "default.replication.factor": copies,
            "min.insync.replicas": max(1, copies - 1),
            # Else a leader that was killed is missed only after 9 s.
            "broker.session.timeout.ms": 3000,
        }
        text = "".join(f"{key}={value}\n" for key, value in settings.items())
        (self.home / "server.properties").write_text(text)
        (self.home / "log4j2.yaml").write_text(LOGGING)

    def java(self, *arguments):
        """The command line of a class of Kafka's."""
        return ["java", "-Xms256m", "-Xmx512m", "-XX:ActiveProcessorCount=2", "-cp", f"{JARS}/*"] + [
            f"-Dlog4j2.configurationFile={self.home}/log4j2.yaml"
        ] + list(arguments)

    def format(self, cluster):
        """Makes its folder."""
        settings = str(self.home / "server.properties")
        command = self.java("kafka.tools.StorageTool", "format", "-t", cluster, "-c", settings)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failure(f"broker {self.number} cannot be formatted: {done.stdout}{done.stderr}")

    def start(self):
        """Begins; `wait` says when it serves."""
        if self.process is not None and self.process.poll() is None:
            raise Failure(f"broker {self.number} runs already")
        self.said = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            command = self.java("kafka.Kafka", str(self.home / "server.properties"))
            # A group of its own: Ctrl-C is for this script, which then stops it in order.
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )

    def wait(self):
        """Until it serves."""
        limit = time.monotonic() + START_LIMIT_S
        while time.monotonic() < limit:
            with self.log.open("rb") as log:
                log.seek(self.said)
                if READY.encode() in log.read():
                    return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        tail = self.log.read_text(errors="replace")[-4000:]
        # An answer to an order is one line.
        print(f"broker {self.number}: {tail}", file=sys.stderr, flush=True)
        ended = self.process.poll()
        how = "says nothing" if ended is None else f"ended with {ended}"
        raise Failure(f"broker {self.number} does not start: it {how}")

    def signal(self, number):
        """Sends a signal to a process that lives."""
        if self.process is None or self.process.poll() is not None:
            raise Failure(f"broker {self.number} does not run")
        self.process.send_signal(number)
        if number in (signal.SIGKILL, signal.SIGTERM):
            try:
                self.process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def stop(self):
        """Ends it, however it stands."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)


SIGNALS = {
    "kill": signal.SIGKILL,
    "term": signal.SIGTERM,
    "stop": signal.SIGSTOP,
    "cont": signal.SIGCONT,
}


def obey(brokers, line):
    """One line of stdin."""
    verb, _, which = line.strip().partition(" ")
    number = int(which) if which.isdigit() else 0
    if not 1 <= number <= len(brokers):
        raise Failure(f"there is no broker `{which}`")
    broker = brokers[number - 1]
    if verb == "start":
        broker.start()
        broker.wait()
    elif verb in SIGNALS:
        broker.signal(SIGNALS[verb])
    else:
        raise Failure(f"`{verb}` is none of start, {', '.join(SIGNALS)}")


def say(text):
    """A line for whoever started this."""
    print(text, flush=True)


def serve(brokers, seconds):
    """Takes orders until the time is over or nobody gives any more."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())

    def listen():
        for line in sys.stdin:
            try:
                obey(brokers, line)
                say("done")
            except Failure as failure:
                say(f"failed {failure}")
        ended.set()

    threading.Thread(target=listen, daemon=True).start()
    ended.wait(seconds)


def run(arguments):
    """A cluster until its time is over."""

    def until(brokers, addresses):
        say("ready " + addresses)
        serve(brokers, arguments.seconds)
        return 0

    return cluster_of(arguments, until)


def execute(arguments):
    """A cluster while a command runs."""
    # Only the first is ours; the command may have one of its own.
    ours = arguments.command[:1] == ["--"]
    command = arguments.command[1:] if ours else arguments.command
    if not command:
        raise Failure("exec needs a command")

    def until(_, addresses):
        named = {"KWQ_TEST_KAFKA": addresses, "KWQ_TEST_LOG_KAFKA": addresses}
        return subprocess.run(command, env={**os.environ, **named}, check=False).returncode

    return cluster_of(arguments, until)


def cluster_of(arguments, until):
    """A cluster from its start to its end; what happens in between is the caller's."""
    fetch()
    home = pathlib.Path(tempfile.mkdtemp(prefix="kwq-kafka-", dir=arguments.dir))
    count = arguments.brokers
    free = [f"{arguments.host}:{port}" for port in free_ports(arguments.host, 2 * count)]
    brokers = [Broker(n + 1, home, free[2 * n], free[2 * n + 1]) for n in range(count)]
    voters = ",".join(f"{one.number}@{one.controller}" for one in brokers)
    # One in 64 would begin with a dash and be taken for an option.
    cluster = base64.urlsafe_b64encode(b"k" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
    try:
        for one in brokers:
            one.configure(voters, count)
        for one in brokers:
            one.format(cluster)
        for one in brokers:
            one.start()
        for one in brokers:
            one.wait()
        return until(brokers, ",".join(one.address for one in brokers))
    finally:
        for one in brokers:
            one.stop()
        shutil.rmtree(home, ignore_errors=True)


def main():
    """The command line."""
    about, _, rest = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(
        description=about, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("fetch")
    running = verbs.add_parser("run")
    around = verbs.add_parser("exec")
    for verb in running, around:
        verb.add_argument("--brokers", type=int, default=1, choices=range(1, 6))
        verb.add_argument("--host", default="127.0.0.1", help="the address they have [%(default)s]")
        verb.add_argument("--dir", help="where its folder is made [default: the system's]")
    around.add_argument("command", nargs=argparse.REMAINDER)
    running.add_argument("--seconds", type=float, help="end after this long at the latest")
    arguments = parser.parse_args()
    try:
        if arguments.verb == "fetch":
            fetch()
        else:
            sys.exit({"run": run, "exec": execute}[arguments.verb](arguments))
    except Failure as failure:
        print(f"broker.py: {failure}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
