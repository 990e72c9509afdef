"""docs/cluster.md and what stands beside it: the manifest by KubeRay's schema, the scripts, the commands."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from lsbench.execution.plan import Host, Resources, fit, place
from lsbench.spec import RunSpec

DOCS = Path(__file__).parents[2] / "docs"
FOLDER = DOCS / "cluster"
GUIDE = DOCS / "cluster.md"
QUANTITY = re.compile(r"([0-9.]+)(|[KMGT]i)")
UNIT = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}


def record(*required: str, **properties: Any) -> dict[str, Any]:
    """An object with these fields and no others: a misspelt one is a mistake, not something to leave out."""
    return {
        "type": "object",
        "required": list(required),
        "properties": properties,
        "additionalProperties": False,
    }


def many(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": schema, "minItems": 1}


TEXT = {"type": "string", "minLength": 1}
COUNT = {"type": "integer", "minimum": 0}
NAME = {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"}
AMOUNT = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(m|[KMGT]i?)?$"}
AMOUNTS = {"type": "object", "additionalProperties": AMOUNT}
METADATA = record("name", name=NAME)
VOLUME = record(
    "name",
    name=NAME,
    persistentVolumeClaim=record("claimName", claimName=NAME),
    emptyDir=record(medium={"enum": ["", "Memory"]}, sizeLimit=AMOUNT),
)
CONTAINER = record(
    "name",
    "image",
    name=NAME,
    image=TEXT,
    env=many(record("name", name=TEXT, value=TEXT)),
    ports=many(record("containerPort", name=NAME, containerPort={**COUNT, "maximum": 65535})),
    resources=record(requests=AMOUNTS, limits=AMOUNTS),
    volumeMounts=many(record("name", "mountPath", name=NAME, mountPath=TEXT)),
)
POD = record("spec", spec=record("containers", containers=many(CONTAINER), volumes=many(VOLUME)))
START = {"type": "object", "additionalProperties": {"type": "string"}}
HEAD = record("template", rayStartParams=START, template=POD)
WORKERS = record(
    "groupName",
    "maxReplicas",
    "minReplicas",
    "template",
    groupName=NAME,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    rayStartParams=START,
    template=POD,
)
RAY_JOB = record(
    "apiVersion",
    "kind",
    "metadata",
    "spec",
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=METADATA,
    spec=record(
        entrypoint=TEXT,
        shutdownAfterJobFinishes={"type": "boolean"},
        ttlSecondsAfterFinished=COUNT,
        backoffLimit=COUNT,
        rayClusterSpec=record(
            "headGroupSpec",
            rayVersion=TEXT,
            authOptions=record(mode={"enum": ["disabled", "token"]}),
            headGroupSpec=HEAD,
            workerGroupSpecs=many(WORKERS),
        ),
    ),
)
"""The fields that the manifest may have, as KubeRay 1.7 declares them in ``ray.io_rayjobs.yaml``."""
CLAIM = record(
    "apiVersion",
    "kind",
    "metadata",
    "spec",
    apiVersion={"const": "v1"},
    kind={"const": "PersistentVolumeClaim"},
    metadata=METADATA,
    spec=record(
        "accessModes",
        "resources",
        accessModes=many({"enum": ["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"]}),
        resources=record("requests", requests=AMOUNTS),
    ),
)


def manifest() -> dict[str, Any]:
    documents = list(yaml.safe_load_all((FOLDER / "rayjob.yaml").read_text()))
    return {document["kind"]: document for document in documents}


def bytes_of(quantity: str) -> int:
    found = QUANTITY.fullmatch(quantity)
    assert found is not None
    return int(float(found[1]) * UNIT[found[2]])


def test_the_manifest_keeps_to_the_schema():
    written = manifest()
    jsonschema.validate(written["RayJob"], RAY_JOB)
    jsonschema.validate(written["PersistentVolumeClaim"], CLAIM)
    assert len(written) == 2


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "backofLimit"), 1),
        (("spec", "backoffLimit"), "none"),
        (("spec", "rayClusterSpec", "headGroupSpec", "rayStartParams", "num-cpus"), 0),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "minReplicas"), None),
        (("apiVersion",), "ray.io/v2"),
    ],
)
def test_the_schema_finds_mistakes(path, value):
    written = manifest()["RayJob"]
    *way, last = path
    place: Any = written
    for step in way:
        place = place[step]
    place[last] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(written, RAY_JOB)


@pytest.mark.slow
@pytest.mark.skipif(
    "LSBENCH_KUBERAY_CRDS" not in os.environ,
    reason="needs LSBENCH_KUBERAY_CRDS: a folder with KubeRay's own ray.io_rayjobs.yaml",
)
def test_the_manifest_keeps_to_kuberays_own_schema():
    """The whole of it, fields that it does not know refused as ``kubectl --validate=strict`` would."""
    text = (Path(os.environ["LSBENCH_KUBERAY_CRDS"]) / "ray.io_rayjobs.yaml").read_text()
    versions = yaml.load(text, yaml.CSafeLoader)["spec"]["versions"]
    (declared,) = [version for version in versions if version["name"] == "v1"]
    schema = strict(declared["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = METADATA
    jsonschema.validate(manifest()["RayJob"], schema)
    wrong = manifest()["RayJob"]
    wrong["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["container"] = []
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema)


def strict(schema: Any) -> Any:
    """A structural schema of Kubernetes as JSON Schema."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string") is True:
        made.pop("type", None)
    open_ended = "additionalProperties" in schema or schema.get("x-kubernetes-preserve-unknown-fields")
    if schema.get("type") == "object" and isinstance(schema.get("properties"), dict) and not open_ended:
        made["additionalProperties"] = False
    return made


def test_volumes_that_are_mounted_are_there():
    cluster = manifest()["RayJob"]["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        spec = group["template"]["spec"]
        there = {volume["name"] for volume in spec["volumes"]}
        mounted = {mount["name"] for one in spec["containers"] for mount in one["volumeMounts"]}
        assert mounted == there
    claims = [v["persistentVolumeClaim"] for v in cluster["headGroupSpec"]["template"]["spec"]["volumes"][:1]]
    assert claims == [{"claimName": manifest()["PersistentVolumeClaim"]["metadata"]["name"]}]


def test_what_the_job_asks_fits_the_cluster_it_makes(cli):
    job = manifest()["RayJob"]["spec"]
    spec = spec_of(shlex.split(job["entrypoint"]), cli)
    assert spec.ray_address == "auto"
    assert spec.output == "/results"
    hosts = [Host("head", int(job["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]["num-cpus"]), 0, 0)]
    for group in job["rayClusterSpec"]["workerGroupSpecs"]:
        (container,) = group["template"]["spec"]["containers"]
        limits = container["resources"]["limits"]
        assert limits == container["resources"]["requests"]
        (shared,) = [v for v in group["template"]["spec"]["volumes"] if v["name"] == "shared-memory"]
        hosts += [
            Host(
                f"{group['groupName']}-{index}",
                int(limits["cpu"]),
                0,
                bytes_of(limits["memory"]),
                bytes_of(shared["emptyDir"]["sizeLimit"]),
            )
            for index in range(group["replicas"])
        ]
    placed = fit(place(spec), Resources(tuple(hosts)), "cpu", 540 << 20)
    assert (placed.replicas, placed.threads_per_rank, placed.shared_cores) == (2, 4, False)
    sharded = place(spec.model_copy(update={"tensor_parallel": 4}))
    assert fit(sharded, Resources(tuple(hosts[1:])), "cpu", 540 << 20).threads_per_rank == 1


def test_the_manifest_names_the_ray_that_lsbench_needs():
    from importlib.metadata import requires

    from packaging.requirements import Requirement

    (wanted,) = [r for r in map(Requirement, requires("lsbench") or ()) if r.name == "ray"]
    assert wanted.specifier.contains(manifest()["RayJob"]["spec"]["rayClusterSpec"]["rayVersion"])


def test_every_command_of_the_page_is_one(cli):
    """Flags and values are read as the command line reads them."""
    found = re.findall(r"^(?:\$ )?(lsbench run .*?[^\\])$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(found) >= 4
    for command in found:
        place(spec_of(shlex.split(command.replace("\\\n", " "), comments=True), cli))


def test_the_batch_script_runs_what_it_is_given(cli):
    """As it is submitted on the page; the shell's variables stand for an address and a count."""
    (command,) = re.findall(r"(lsbench run .*)", (FOLDER / "lsbench.sbatch").read_text())
    (submitted,) = re.findall(r"lsbench\.sbatch (.*)", GUIDE.read_text())
    written = command.replace('"$address:$PORT"', "10.0.0.1:6379").replace('"${#nodes[@]}"', "4")
    spec = spec_of(shlex.split(written.replace('"$@"', submitted)), cli)
    assert place(spec).ranks == 8


def test_the_batch_script_is_one():
    done = subprocess.run(["bash", "-n", FOLDER / "lsbench.sbatch"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_link_of_the_page_leads_somewhere():
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", GUIDE.read_text()):
        assert link.startswith("https://") or (DOCS / link).exists(), link


def spec_of(words: list[str], cli: Any) -> RunSpec:
    assert words[:2] == ["lsbench", "run"]
    return RunSpec.model_validate(yaml.safe_load(cli(*words[1:], "--print-config")))


@pytest.fixture
def cli(capsys):
    from lsbench.cli import main

    def call(*arguments: str) -> str:
        capsys.readouterr()
        code = main(list(arguments))
        said = capsys.readouterr()
        assert code == 0, said.err
        return said.out

    return call
