"""A real Kafka broker for tests and measurements: its artefacts by Maven, once, and one process on a free port.

As a program: `python -m tests.kafka_broker start FOLDER [PORT]` prints its address and stays until it is stopped.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

VERSION = "4.3.1"
#: Names a broker that is there already (host:port); none is started then.
NAMED = "HEADWATER_TEST_KAFKA"
#: Names the folder with the broker's jars; by default they are cached in the user's own.
CACHE = "HEADWATER_KAFKA_CACHE"

_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>headwater</groupId><artifactId>test-broker</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{version}</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-server</artifactId><version>{version}</version></dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.24.3</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-core</artifactId><version>2.24.3</version>
    </dependency>
  </dependencies>
</project>
"""

_PROPERTIES = """process.roles=broker,controller
node.id={node}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{others}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}{others}
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,SASL_PLAINTEXT:SASL_PLAINTEXT
controller.quorum.{quorum}
log.dirs={data}
offsets.topic.replication.factor={copies}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={copies}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor={copies}
default.replication.factor={copies}
min.insync.replicas={in_sync}
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
log.retention.check.interval.ms=1000
{more}
"""

#: A machine that is busy with much else takes its time.
START_SECONDS = 180.0

_CLUSTER = "aGVhZHdhdGVyLWJyb2tlcg"


class CannotStart(Exception):
    """Why there can be no broker here."""


def jars() -> Path:
    """The folder with the broker's jars, got by Maven if they are not there. CannotStart."""
    folder = Path(os.environ.get(CACHE) or Path.home() / ".cache" / "headwater" / f"kafka-{VERSION}")
    found = folder / "jars"
    if (folder / "complete").exists():
        return found
    maven = shutil.which("mvn")
    if maven is None:
        raise CannotStart(f"there is no Maven (mvn) to get Kafka {VERSION} with, and {found} does not hold it")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pom.xml").write_text(_POM.format(version=VERSION))
    command = [maven, "--quiet", "--batch-mode", "dependency:copy-dependencies", f"-DoutputDirectory={found}"]
    try:
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=500)
    except subprocess.TimeoutExpired as error:
        raise CannotStart(f"Maven did not get Kafka {VERSION} within 500 s") from error
    if ran.returncode:
        raise CannotStart(f"Maven could not get Kafka {VERSION}: {(ran.stdout + ran.stderr).strip()[-500:]}")
    (folder / "complete").touch()
    return found


class Cluster:
    """Three brokers that each are a controller too; topics are on all of them, and one may be lost."""

    def __init__(self, folder: Path) -> None:
        ports = [free_port() for _ in range(3)]
        voters = ",".join(f"{number}@127.0.0.1:{port}" for number, port in enumerate(ports, 1))
        self.brokers = [
            Broker(folder / f"broker-{number}", node=number, controller=port, voters=voters)
            for number, port in enumerate(ports, 1)
        ]

    @property
    def address(self) -> str:
        return ",".join(broker.address for broker in self.brokers)

    def start(self) -> None:
        """Start them side by side, as none is ready without another. CannotStart."""
        with ThreadPoolExecutor(3) as threads:
            list(threads.map(Broker.start, self.brokers))

    def is_whole(self) -> bool:
        """True if every broker has all of its copies, and has caught up with them."""
        from kafka import KafkaAdminClient
        from kafka.errors import KafkaError

        try:
            admin = KafkaAdminClient(bootstrap_servers=self.address.split(","))
            try:
                told = admin.describe_topics()
            finally:
                admin.close()
        except KafkaError:
            return False
        return all(len(one["isr_nodes"]) == len(self.brokers) for topic in told for one in topic["partitions"])

    def stop(self) -> None:
        """End them: of three that stop in order the last two wait for each other."""
        for broker in self.brokers:
            broker.kill()


class Broker:
    """One broker (KRaft, its own controller) whose data lie in `folder`. It can be stopped and started again.

    `listeners` are further ones (security protocol: port), `settings` further lines of its settings, `users` those of
    SCRAM with their passwords; `node`, `controller` and `voters` are for one of several.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        listeners: Mapping[str, int] | None = None,
        settings: str = "",
        users: Mapping[str, str] | None = None,
        node: int = 1,
        controller: int | None = None,
        voters: str = "",
    ) -> None:
        self.folder = folder
        self._node = node
        self._voters = voters
        self._others = "".join(f",{kind}://127.0.0.1:{number}" for kind, number in (listeners or {}).items())
        self._more = settings
        self._users = dict(users or {})
        self.port = port or free_port()
        self._controller = controller or free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._classpath = f"{jars()}/*"
        self._java = shutil.which("java") or ""
        if not self._java:
            raise CannotStart("there is no Java to run Kafka with")
        folder.mkdir(parents=True, exist_ok=True)
        self._settings = folder / "server.properties"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it answers. CannotStart."""
        data = self.folder / "data"
        if not data.exists():
            self._settings.write_text(
                _PROPERTIES.format(
                    node=self._node,
                    quorum=f"voters={self._voters}"
                    if self._voters
                    else f"bootstrap.servers=127.0.0.1:{self._controller}",
                    copies=3 if self._voters else 1,
                    in_sync=2 if self._voters else 1,
                    port=self.port,
                    controller=self._controller,
                    data=data,
                    others=self._others,
                    more=self._more,
                )
            )
            command = ["kafka.tools.StorageTool", "format", "-t", _CLUSTER, "-c", str(self._settings)]
            if not self._voters:
                command.append("--standalone")
            for name, password in self._users.items():
                command += ["--add-scram", f"SCRAM-SHA-512=[name={name},password={password}]"]
            ran = subprocess.run(
                [self._java, "-cp", self._classpath, *command], capture_output=True, text=True, check=False, timeout=120
            )
            if ran.returncode:
                raise CannotStart(f"Kafka's storage could not be made: {(ran.stdout + ran.stderr).strip()[-500:]}")
        with (self.folder / "broker.log").open("ab") as output:
            self._process = subprocess.Popen(
                [self._java, "-Xmx400m", "-cp", self._classpath, "kafka.Kafka", str(self._settings)],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._wait()

    def stop(self) -> None:
        """Stop it in order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it."""
        self._end(signal.SIGKILL)

    def suspend(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, number: int) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _wait(self) -> None:
        assert self._process is not None
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            if self._process.poll() is not None:
                raise CannotStart(f"Kafka ended at once: {(self.folder / 'broker.log').read_text()[-800:]}")
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise CannotStart(f"Kafka did not listen within {START_SECONDS:.0f} s")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def main() -> None:
    if len(sys.argv) < 3 or sys.argv[1] != "start":
        sys.exit(__doc__)
    broker = Broker(Path(sys.argv[2]), port=int(sys.argv[3]) if len(sys.argv) > 3 else None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        broker.start()
        print(broker.address, flush=True)
        signal.pause()
    except CannotStart as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        pass
    finally:
        broker.stop()


if __name__ == "__main__":
    main()
