"""A real linnetd, and a real Mosquitto where there is one, for tests with real clients."""

import http.client
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
LINNETD = TARGET / "release" / "linnetd"
READY_SECS = 60
# Tiny models with random or toy weights, exported by Optimum: enough to see that real clients are understood.
FAMILIES = ROOT / "tests" / "goldens" / "families"


def skip(missing: str):
    """Skips loudly; a failure where nothing may be skipped."""
    if os.environ.get("LINNET_TEST_REQUIRE") == "all":
        pytest.fail(f"LINNET_TEST_REQUIRE=all, and {missing}")
    line = f"SKIPPED: tests/python: {missing}"
    print(line)
    if "LINNET_TEST_SKIPS" in os.environ:
        with open(os.environ["LINNET_TEST_SKIPS"], "a", encoding="utf-8") as skips:
            skips.write(line + "\n")
    pytest.skip(missing)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def eventually(what: str, done):
    until = time.monotonic() + READY_SECS
    while time.monotonic() < until:
        found = done()
        if found:
            return found
        time.sleep(0.02)
    pytest.fail(f"{what}: not within {READY_SECS} s")


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket, with the standard library alone."""

    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Daemon:
    """linnetd on a temporary directory, with HTTP over TCP on loopback."""

    def __init__(self, home: Path, broker_port):
        if not LINNETD.exists():
            pytest.fail(f"{LINNETD} is missing; build it: cargo build --release --workspace")
        self.socket = home / "linnet.sock"
        self.token = "token-of-the-test"
        self.port = free_port()
        self.broker_port = broker_port
        token_file = home / "token"
        token_file.write_text(self.token + "\n", encoding="utf-8")
        token_file.chmod(0o600)
        config = home / "linnet.toml"
        text = f'device = "bench"\n\n[http]\ntcp = "127.0.0.1:{self.port}"\ntoken_file = "{token_file}"\n'
        if (FAMILIES / "llama").is_dir() and (FAMILIES / "minilm").is_dir():
            text = 'aliases = { "gpt-4o-mini" = "llama", "text-embedding-3-small" = "minilm" }\n' + text
        if broker_port:
            text += f'\n[mqtt]\nurl = "mqtt://127.0.0.1:{broker_port}"\n'
        config.write_text(text, encoding="utf-8")
        environment = {k: v for k, v in os.environ.items() if not k.startswith("LINNET_")}
        self.log = home / "linnetd.log"
        arguments = ["--config", config, "--socket", self.socket, "--state", home / "state", "--models", ROOT / "models"]
        if FAMILIES.is_dir():
            arguments += ["--models", FAMILIES]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([LINNETD, *arguments], stderr=log, env=environment)
        eventually("linnetd is ready", self.is_ready)

    def is_ready(self) -> bool:
        if self.process.poll() is not None:
            pytest.fail(f"linnetd ended:\n{self.log.read_text()}")
        connection = UnixConnection(self.socket)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def models(self) -> dict:
        """Every model that serves, by name."""
        connection = UnixConnection(self.socket)
        try:
            connection.request("GET", "/v1/models")
            listed = json.loads(connection.getresponse().read())["data"]
        finally:
            connection.close()
        return {model["id"]: model for model in listed if model["ready"]}

    def needs(self, name: str, task: str) -> str:
        """The model called `name` where it is there and does `task`; else the test is skipped, loudly."""
        model = self.models().get(name)
        if model is None or task not in model["tasks"]:
            skip(f"no model {name} that does {task} (tests/goldens/families/{name})")
        return name

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="session")
def home():
    with tempfile.TemporaryDirectory(prefix="linnet-python-") as path:
        yield Path(path)


@pytest.fixture(scope="session")
def broker_port(home):
    """A real Mosquitto; None where there is none, and the tests that need it skip."""
    program = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if program is None:
        yield None
        return
    port = free_port()
    config = home / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n", encoding="utf-8")
    process = subprocess.Popen([program, "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def listens():
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    eventually("Mosquitto listens", listens)
    yield port
    process.terminate()
    process.wait(20)


@pytest.fixture(scope="session")
def daemon(home, broker_port):
    daemon = Daemon(home, broker_port)
    yield daemon
    daemon.stop()


@pytest.fixture(scope="session")
def sample() -> Path:
    return ROOT / "tests" / "data" / "audio" / "sample.wav"
