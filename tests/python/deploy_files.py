#!/usr/bin/env python3
"""The files that run Postroom elsewhere, as far as that can be said without an engine: docker-compose.yml, the Dockerfile,
deploy/k8s.

Addresses, ports, users and secrets in the settings are those of the services of the compose file, and `postroom check` takes
the settings. Each COPY of the Dockerfile has a source that .dockerignore leaves, the image holds no secret and is not root's,
and the libraries that the binary is linked with are in its packages. Manifests fit the schemas of Kubernetes, and KEDA's
objects the schema beside this file; each check is shown to fail where it should.
"""

import argparse
import copy
import fnmatch
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import urllib.parse

import jsonschema
import kubernetes_validate
import yaml

from checks import Checks

ROOT = pathlib.Path(__file__).resolve().parents[2]
KUBERNETES = "1.33"
# What a slim Debian has anyway.
BASE_PACKAGES = {"libc6", "libgcc-s1"}
SECRETS = {
    "/run/secrets/admin_token": "POSTROOM_ADMIN__TOKEN_FILE",
    "/run/secrets/store_password": "POSTROOM_STORE__PASSWORD_FILE",
}


def seconds(span):
    number, unit = re.fullmatch(r"(\d+)(s|m|h)", span).groups()
    return int(number) * {"s": 1, "m": 60, "h": 3600}[unit]


def refused(what, *arguments):
    """Whether a check fails, as it should."""
    try:
        what(*arguments)
    except Exception:  # each checker has its own
        return True
    return False


def command(binary, *words, **environment):
    kept = {"PATH": os.environ["PATH"], "NO_COLOR": "1", **environment}
    return subprocess.run([binary, *words], cwd=ROOT, env=kept, capture_output=True, text=True, timeout=60)


def accepted(checks, binary, path, settings):
    """`postroom check` takes a file of settings; its secrets lie in a folder of the test's own."""
    with tempfile.TemporaryDirectory(prefix="postroom-deploy.") as folder:
        environment = {}
        for section in settings.values():
            for name, value in section.items():
                if name.endswith("_file"):
                    file = pathlib.Path(folder) / pathlib.Path(value).name
                    file.write_text("sesame\n")
                    file.chmod(0o600)
                    environment[SECRETS[value]] = str(file)
        done = command(binary, "check", "-c", str(path), **environment)
    checks.that(f"postroom check takes {path.relative_to(ROOT)}", done.returncode == 0, done.stdout + done.stderr)


def check_compose(checks, binary):
    text = (ROOT / "docker-compose.yml").read_text()
    compose = yaml.safe_load(text)
    services = compose["services"]
    checks.that("there is no version key", "version" not in compose)
    ports = [port for service in services.values() for port in service.get("ports", [])]
    checks.equal("all ports are on loopback", [], [port for port in ports if not port.startswith("127.0.0.1:")])
    hosts = [port.split(":")[1] for port in ports]
    checks.equal("no port is taken twice", sorted(set(hosts)), sorted(hosts))
    unhealthy = [name for name, service in services.items() if "healthcheck" not in service]
    checks.equal("every service says how it is", [], unhealthy)
    waits = [
        (name, on, how["condition"])
        for name, service in services.items()
        for on, how in service.get("depends_on", {}).items()
        if how["condition"] != ("service_completed_successfully" if on == "topics" else "service_healthy")
    ]
    checks.equal("who depends waits until the other is well", [], waits)
    unpinned = [s["image"] for s in services.values() if "build" not in s and not re.search(r":v?\d", s["image"])]
    checks.equal("images are pinned", [], unpinned)
    mounts = [mount for service in services.values() for mount in service.get("volumes", [])]
    missing = [m for m in mounts if m.startswith("./") and not (ROOT / m.split(":")[0]).exists()]
    checks.equal("what is mounted is there", [], missing)
    named = {mount.split(":")[0] for mount in mounts if not mount.startswith((".", "/"))}
    checks.equal("named volumes are declared and used", named, set(compose["volumes"]))
    folder = ROOT / "deploy/compose/secrets"
    checks.that("secrets are files", all(list(secret) == ["file"] for secret in compose["secrets"].values()))
    ignored = [s["file"] for s in compose["secrets"].values() if (ROOT / s["file"]).parent != folder]
    checks.equal("in a folder that git does not keep", [], ignored)
    words = [line for line in text.splitlines() if re.search(r"PASSWORD(?!_FILE)|TOKEN(?!_FILE)", line)]
    checks.equal("no secret stands in the file", [], words)

    path = ROOT / "deploy/compose/postroom.toml"
    settings = tomllib.loads(path.read_text())
    accepted(checks, binary, path, settings)
    postroom = services["postroom"]
    listeners = services["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"].split(",")
    checks.that("the brokers are those of the compose file", f"PLAINTEXT://{settings['kafka']['brokers']}" in listeners)
    registry = urllib.parse.urlsplit(settings["registry"]["url"])
    checks.that("the registry is a service", registry.hostname in services)
    checks.that("its port is the one it listens on", services["registry"]["ports"][0].endswith(f":{registry.port}"))
    checks.equal("... and is told to", registry.port, services["registry"]["environment"]["QUARKUS_HTTP_PORT"])
    checks.that("its path is the one that is asked for health", f"{registry.path}/subjects" in services["registry"]["healthcheck"]["test"][1])
    own = services["registry"]["environment"]["APICURIO_KAFKASQL_BOOTSTRAP_SERVERS"]
    checks.equal("the registry keeps its schemas in the same Kafka", settings["kafka"]["brokers"], own)
    store = urllib.parse.urlsplit(settings["store"]["url"])
    if store.scheme in ("postgres", "postgresql"):
        postgres = services[store.hostname]["environment"]
        checks.equal("the store's user is Postgres'", postgres["POSTGRES_USER"], store.username)
        checks.equal("so is the database", postgres["POSTGRES_DB"], store.path.strip("/"))
        checks.equal("and the password's file", postgres["POSTGRES_PASSWORD_FILE"], settings["store"]["password_file"])
        checks.equal("and the port", 5432, store.port or 5432)
    else:
        kept = [mount.split(":")[1] for mount in postroom["volumes"] if mount.startswith("postroom:")]
        checks.equal("the store's file is on a volume", kept, [str(pathlib.Path(store.path).parent)])
    relay = settings["mail"]["relay"].split(":")
    checks.that("the relay is a service", relay[0] in services and relay[1] == "1025", str(relay))
    port = settings["http"]["listen"].rsplit(":", 1)[1]
    checks.equal("the page's port is published", [f"127.0.0.1:{port}:{port}"], postroom["ports"])
    scraped = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    targets = [target for job in scraped["scrape_configs"] for group in job["static_configs"] for target in group["targets"]]
    checks.equal("Prometheus scrapes it", [f"postroom:{port}"], targets)
    source = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text())
    checks.equal("Grafana reads that Prometheus", ["http://prometheus:9090"], [one["url"] for one in source["datasources"]])
    dashboards = yaml.safe_load((ROOT / "deploy/grafana/provisioning/dashboards/postroom.yml").read_text())
    shown = dashboards["providers"][0]["options"]["path"]
    checks.that("Grafana shows the dashboard", any(f":{shown}/postroom.json" in mount for mount in services["grafana"]["volumes"]))
    used = {value for section in settings.values() for name, value in section.items() if name.endswith("_file")}
    given = {f"/run/secrets/{name}" for name in postroom["secrets"]}
    checks.that("every secret of the settings is given", used <= given, f"{used - given}")
    drain = seconds(settings.get("shutdown", {}).get("deadline", "25s"))
    for name in ("postroom", "topics"):
        service = services[name]
        where = service["environment"]["POSTROOM_CONFIG"]
        mounted = [mount for mount in service["volumes"] if mount == f"./deploy/compose/postroom.toml:{where}:ro"]
        checks.equal(f"{name} reads the settings", 1, len(mounted))
        checks.that(f"{name} can write to nothing but its volumes", service["read_only"] and service["cap_drop"] == ["ALL"])
    checks.equal("it may take its time to end", drain + 15, seconds(postroom["stop_grace_period"]))


def instructions(text):
    """(instruction, words) of a Dockerfile; continued lines are one."""
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip() and not line.startswith("#"):
            word, _, rest = line.partition(" ")
            yield word.upper(), rest.strip()


def is_ignored(path, patterns):
    parts = path.split("/")
    starts = ["/".join(parts[: length + 1]) for length in range(len(parts))]
    return any(fnmatch.fnmatch(start, pattern) or fnmatch.fnmatch(start, pattern.removeprefix("**/")) for start in starts for pattern in patterns)


def check_image(checks, binary):
    dockerfile = list(instructions((ROOT / "Dockerfile").read_text()))
    ignore = [line for line in (ROOT / ".dockerignore").read_text().split() if not line.startswith("#")]
    stages = [position for position, (word, _) in enumerate(dockerfile) if word == "FROM"]
    checks.equal("the image is made in two stages", 2, len(stages))
    unpinned = [rest for word, rest in dockerfile if word == "FROM" and not re.search(r":\d", rest)]
    checks.equal("both begin with a pinned image", [], unpinned)
    missing, unread = [], []
    for word, rest in dockerfile:
        if word in ("COPY", "ADD") and not rest.startswith("--from="):
            for source in rest.split()[:-1]:
                missing += [source] if not (ROOT / source).exists() else []
                unread += [source] if source != "." and is_ignored(source, ignore) else []
    checks.equal("every source of a COPY is there", [], missing)
    checks.equal("and not ignored", [], unread)
    checks.that("secrets do not get into a layer", is_ignored("deploy/compose/secrets/admin_token", ignore))
    checks.that("nor do .git and target", is_ignored(".git/config", ignore) and is_ignored("target/debug/x", ignore))
    read = [ROOT / "Cargo.toml", ROOT / "Cargo.lock", ROOT / "build.rs"]
    manifest = tomllib.loads((ROOT / "Cargo.toml").read_text())
    read += [ROOT / member / "Cargo.toml" for member in manifest["workspace"]["members"]]
    for source in [*(ROOT / "src").rglob("*.rs"), *(ROOT / "core").rglob("*.rs")]:
        if "target" not in source.parts:
            for name in re.findall(r'include_(?:str|bytes)!\(\s*"([^"]+)"', source.read_text()):
                read.append((source.parent / name).resolve())
    hidden = [str(path.relative_to(ROOT)) for path in read if not path.exists() or is_ignored(str(path.relative_to(ROOT)), ignore)]
    checks.equal(f"the {len(read)} files that the build reads are in its context", [], hidden)

    final = dockerfile[stages[-1] + 1 :]
    users = [rest for word, rest in final if word == "USER"]
    checks.that("it does not run as root", bool(users) and re.fullmatch(r"[1-9]\d*(:[1-9]\d*)?", users[-1]) is not None, str(users))
    wordy = [rest for word, rest in dockerfile if word in ("ENV", "ARG") and re.search(r"token|password|secret|key", rest, re.I)]
    checks.equal("no secret is among its variables", [], wordy)
    told = dict(final)
    checks.that("it asks itself how it is", 'CMD ["postroom", "healthcheck"]' in told["HEALTHCHECK"])
    checks.equal("it is stopped by the signal that drains", "SIGTERM", told["STOPSIGNAL"])
    checks.equal("no shell stands between it and the signal", '["postroom"]', told["ENTRYPOINT"])
    if not shutil.which("dpkg"):
        print("SKIPPED: there is no dpkg: the packages of the linked libraries are not known", file=sys.stderr)
        return
    linked = subprocess.run(["ldd", binary], capture_output=True, text=True, check=True).stdout
    files = re.findall(r"=> (/\S+)", linked)
    packages = set()
    for file in files:
        for name in (file, os.path.realpath(file), file.replace("/lib/", "/usr/lib/", 1), file.removeprefix("/usr")):
            found = subprocess.run(["dpkg", "-S", name], capture_output=True, text=True)
            if found.returncode == 0:
                packages.add(found.stdout.split(":")[0])
                break
        else:
            packages.add(f"no package has {file}")
    installed = set()
    for word, rest in final:
        for names in re.findall(r"apt-get install -y --no-install-recommends ([^&]+)", rest) if word == "RUN" else []:
            installed |= set(names.split())
    checks.equal(f"the packages of its {len(files)} linked libraries are installed", set(), packages - installed - BASE_PACKAGES)


def check_kubernetes(checks, binary):
    schema = json.loads((ROOT / "tests/python/keda.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    keda = jsonschema.Draft202012Validator(schema)
    text = (ROOT / "deploy/k8s/postroom.yaml").read_text()
    objects = list(yaml.safe_load_all(text)) + list(yaml.safe_load_all((ROOT / "deploy/k8s/network-policy.yaml").read_text()))
    for one in objects:
        kubernetes_validate.validate(one, KUBERNETES, strict=True)
    checks.that(f"{len(objects)} manifests fit the schemas of Kubernetes", len(objects) >= 7)
    kinds = {one["kind"]: one for one in objects}
    wrong = copy.deepcopy(kinds["StatefulSet"])
    wrong["spec"]["replicas"] = "three"
    checks.that("a wrong type is refused", refused(lambda: kubernetes_validate.validate(wrong, KUBERNETES, strict=True)))
    odd = copy.deepcopy(kinds["StatefulSet"])
    odd["spec"]["template"]["spec"]["terminationGraceSeconds"] = 1
    checks.that("a misspelt field is refused", refused(lambda: kubernetes_validate.validate(odd, KUBERNETES, strict=True)))

    settings_path = ROOT / "deploy/k8s/postroom.toml"
    settings = tomllib.loads(settings_path.read_text())
    accepted(checks, binary, settings_path, settings)
    checks.equal("the ConfigMap holds the settings", settings, tomllib.loads(kinds["ConfigMap"]["data"]["postroom.toml"]))
    checks.that("a member is named after its pod", "{hostname}" in settings["kafka"]["instance_id"])
    stateful = kinds["StatefulSet"]["spec"]
    pod = stateful["template"]["spec"]
    drain = seconds(settings.get("shutdown", {}).get("deadline", "25s"))
    checks.equal("a pod may take the drain and 15 s", drain + 15, pod["terminationGracePeriodSeconds"])
    checks.equal("one member less at a time", 1, stateful["updateStrategy"]["rollingUpdate"]["maxUnavailable"])
    checks.equal("... whoever drains nodes", 1, kinds["PodDisruptionBudget"]["spec"]["maxUnavailable"])
    container = pod["containers"][0]
    checks.equal("it has started when it has joined", "/readyz", container["startupProbe"]["httpGet"]["path"])
    checks.equal("it lives without Kafka", "/livez", container["livenessProbe"]["httpGet"]["path"])
    port = int(settings["http"]["listen"].rsplit(":", 1)[1])
    checks.equal("the port is the one of the settings", port, container["ports"][0]["containerPort"])
    checks.that("it is not root", pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] > 0)
    for one in [container, *pod["initContainers"]]:
        locked = one["securityContext"]
        checks.that(
            f"{one['name']} cannot write and has no rights",
            locked["readOnlyRootFilesystem"] and not locked["allowPrivilegeEscalation"] and locked["capabilities"]["drop"] == ["ALL"],
        )
        checks.that(f"{one['name']} has resources", {"requests", "limits"} <= set(one["resources"]))
    secret = [volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume]
    checks.equal("the Secret is named, and not made here", (["postroom"], False), (secret, "Secret" in kinds))
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    used = [value for section in settings.values() for name, value in section.items() if name.endswith("_file")]
    checks.that("secrets of the settings lie where it is mounted", all(str(pathlib.Path(v).parent) == mounts["secrets"] for v in used))
    # ${name} is the pod's name because the set is headed by a headless service.
    headless = [one for one in objects if one["kind"] == "Service" and one["spec"].get("clusterIP") == "None"]
    checks.equal("the set has a headless service", [stateful["serviceName"]], [one["metadata"]["name"] for one in headless])

    for trigger in ("kafka", "metrics-api", "prometheus"):
        done = command(binary, "export", "keda", "-c", str(settings_path), "--trigger", trigger)
        for one in yaml.safe_load_all(done.stdout):
            keda.validate(one)
        checks.that(f"KEDA's objects for {trigger} fit their schema", done.returncode == 0, done.stderr)
    scaled = yaml.safe_load((ROOT / "deploy/k8s/keda.yaml").read_text())
    keda.validate(scaled)
    for path, value in [(("minReplicaCount",), "1"), (("maxReplicas",), 8), (("fallback", "behavior"), "keep")]:
        bad = copy.deepcopy(scaled)
        place = bad["spec"]
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        checks.that(f"spec.{'.'.join(path)} = {value!r} is refused", refused(keda.validate, bad))
    bad = copy.deepcopy(scaled)
    bad["spec"]["triggers"][0]["metadata"]["limitToPartitionsWithLag"] = True
    checks.that("metadata that is not text is refused", refused(keda.validate, bad))
    del bad["spec"]["triggers"][0]["metadata"]["topic"]
    bad["spec"]["triggers"][0]["metadata"]["limitToPartitionsWithLag"] = "true"
    checks.that("a limit to partitions without a topic is refused", refused(keda.validate, bad))
    spec = scaled["spec"]
    checks.equal("it scales the set", ("StatefulSet", kinds["StatefulSet"]["metadata"]["name"]), (spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"]))
    metadata = [trigger["metadata"] for trigger in spec["triggers"]]
    checks.equal("by the brokers of the settings", {settings["kafka"]["brokers"]}, {one["bootstrapServers"] for one in metadata})
    checks.equal("a lag that persists counts", {"false"}, {one["excludePersistentLag"] for one in metadata})


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--postroom", default="target/debug/postroom", help="the binary")
    given = arguments.parse_args()
    binary = str(pathlib.Path(given.postroom).resolve())
    checks = Checks()
    check_compose(checks, binary)
    check_image(checks, binary)
    check_kubernetes(checks, binary)
    sys.exit(checks.close("text"))


if __name__ == "__main__":
    main()
