"""What stands in for an image where no Docker is: the same program, with the image's own rules for its environment.

`apache/kafka`: every KAFKA_X_Y is the broker's setting x.y; CLUSTER_ID formats its storage, once. `postgres`: user,
password and database of POSTGRES_…, made once. An image that is built here: what its Dockerfile says is run, with the
packages of this Python and the files of its context.
"""

from __future__ import annotations

import os
import pwd
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.compose import dockerfile
from tests.compose.compose_file import Refused, Service
from tests.kafka_broker import jars
from tests.services.postgres import copied, installed

#: Settings of the Kafka image that are no settings of the broker.
NOT_THE_BROKERS = ("KAFKA_HEAP_OPTS", "KAFKA_OPTS", "KAFKA_JVM_PERFORMANCE_OPTS", "KAFKA_LOG4J_")


@dataclass
class Program:
    """What is run for a container: a command in a folder with an environment, and `once` before its first start."""

    command: list[str]
    environment: dict[str, str]
    folder: Path
    once: list[list[str]] = field(default_factory=list)
    account: dict[str, Any] = field(default_factory=dict)


def program(service: Service, address: str, translated: Callable[[str], str], folder: Path) -> Program:
    """What stands in for the service's image in a container at `address`. `translated` puts this machine's addresses
    and folders into what the file says; `folder` is for files that the image would bring. Refused for an image that
    nothing stands in for."""
    environment = {name: translated(value) for name, value in service.environment.items()}
    repository = service.image.rpartition(":")[0] or service.image
    if service.built is not None:
        return _built(service, environment, translated, folder)
    if service.command is not None or service.entrypoint is not None:
        raise Refused(f"{service.name}: a command for {service.image}")
    if repository == "apache/kafka":
        return _kafka(environment, folder)
    if repository == "postgres":
        home = f"/var/lib/postgresql/{service.image.partition(':')[2]}/docker"
        return _postgres(environment, Path(translated(home)), address, folder)
    raise Refused(f"{service.name}: nothing stands in for the image {service.image}")


def _built(service: Service, environment: dict[str, str], translated: Callable[[str], str], folder: Path) -> Program:
    assert service.built is not None
    context, name = service.built
    stage = dockerfile.read(context / name)[-1]
    own = {name: translated(value) for name, value in stage.environment().items()}
    environment = {**own, **environment}
    # The environment in which the image installs its packages is the one in which this runs.
    here = Path(sys.executable).parent
    environment["PATH"] = os.pathsep.join([str(here), os.environ["PATH"]])
    environment["PYTHONPATH"] = str(context)
    # Who names an entrypoint gets nothing of the image's own command.
    words = service.command or ([] if service.entrypoint else stage.listed("CMD"))
    command = [*(service.entrypoint or stage.listed("ENTRYPOINT")), *words]
    work = folder / "work"
    work.mkdir(exist_ok=True)
    for source, place in stage.copied():
        _linked(work / place, context / source)
    for place, source in service.volumes.items():
        if isinstance(source, Path):
            _linked(work / Path(place).relative_to(stage.last("WORKDIR") or "/"), source)
    return Program([translated(word) for word in command], environment, work)


def _linked(place: Path, target: Path) -> None:
    place.unlink(missing_ok=True)
    place.symlink_to(target)


def _kafka(environment: dict[str, str], folder: Path) -> Program:
    settings = {
        name.removeprefix("KAFKA_").lower().replace("___", "-").replace("_", "."): value
        for name, value in environment.items()
        if name.startswith("KAFKA_") and not name.startswith(NOT_THE_BROKERS)
    }
    if "__" in "".join(name for name in environment if name.startswith("KAFKA_")):
        raise Refused("a setting of Kafka with an underline in its name")
    stated = folder / "server.properties"
    stated.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    java = ["java", *shlex.split(environment.get("KAFKA_HEAP_OPTS", "")), "-cp", f"{jars()}/*"]
    formatted = ["kafka.tools.StorageTool", "format", "--ignore-formatted", "-t", environment["CLUSTER_ID"]]
    return Program(
        [*java, "kafka.Kafka", str(stated)],
        {"PATH": os.environ["PATH"]},
        folder,
        once=[[*java, *formatted, "-c", str(stated)]],
    )


def _postgres(environment: dict[str, str], data: Path, address: str, folder: Path) -> Program:
    account: dict[str, Any] = {}
    binaries = installed()
    data.parent.mkdir(parents=True, exist_ok=True)
    password = folder / "password"
    password.write_text(environment["POSTGRES_PASSWORD"])
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        for place in (data.parents[1], data.parent, password, folder):
            os.chown(place, nobody.pw_uid, nobody.pw_gid)
        binaries = next(folder.glob("*/pginstall*/bin"), None) or copied(binaries, folder)
    user, database = environment["POSTGRES_USER"], environment["POSTGRES_DB"]
    made = f"""test -e {data}/PG_VERSION && exit 0
    {binaries}/initdb -D {data} -U {user} --pwfile={password} --auth-local=trust --auth-host=scram-sha-256 \
      --encoding=UTF8 --locale=C --no-sync &&
    echo "host all all all scram-sha-256" >> {data}/pg_hba.conf &&
    echo 'CREATE DATABASE "{database}"' | {binaries}/postgres --single -D {data} postgres"""
    return Program(
        [f"{binaries}/postgres", "-D", str(data), "-c", f"listen_addresses={address}",
         "-c", "unix_socket_directories="],
        {"PATH": f"{binaries}:{os.environ['PATH']}", "LC_ALL": "C"},
        folder,
        once=[["sh", "-ec", made]],
        account=account,
    )  # fmt: skip


def run_once(made: Program, log: Path) -> None:
    """What comes before the first start. Refused, with what it said."""
    for command in made.once:
        ran = subprocess.run(
            command, cwd=made.folder, env=made.environment, capture_output=True, text=True, check=False, timeout=120,
            **made.account,
        )  # fmt: skip
        with log.open("a") as out:
            out.write(ran.stdout + ran.stderr)
        if ran.returncode:
            raise Refused(f"{shlex.join(command)[:80]}: {(ran.stdout + ran.stderr)[-800:]}")
