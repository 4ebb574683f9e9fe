"""The fields of KubeRay's kinds that we know, as a JSON schema: anything else is refused.

No package carries KubeRay's own definitions, so these are written from its reference of the API, version 1.7.1
(https://docs.ray.io/en/master/kuberay/references/api.html), and its samples; they were not yet held against the
definitions themselves. Pod templates are left to Kubernetes' schema.
"""

from typing import Any

_TEXT, _FLAG, _COUNT = {"type": "string"}, {"type": "boolean"}, {"type": "integer", "minimum": 0}
_TEXTS = {"type": "object", "additionalProperties": _TEXT}
_ANY = {"type": "object"}
_TEMPLATE = {"type": "object", "required": ["spec"], "properties": {"metadata": _ANY, "spec": _ANY}}


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "required": required, "properties": properties}


_AUTH = _object([], mode={"enum": ["disabled", "token"]}, secretName=_TEXT)
_AUTOSCALER = _object(
    [],
    resources=_ANY,
    image=_TEXT,
    imagePullPolicy=_TEXT,
    securityContext=_ANY,
    idleTimeoutSeconds=_COUNT,
    upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
    version={"enum": ["v1", "v2"]},
    env={"type": "array"},
    envFrom={"type": "array"},
    volumeMounts={"type": "array"},
)
_HEAD = _object(
    ["template"], serviceType=_TEXT, enableIngress=_FLAG, rayStartParams=_TEXTS, resources=_TEXTS, template=_TEMPLATE
)
_WORKER = _object(
    ["groupName", "maxReplicas", "minReplicas", "template"],
    groupName=_TEXT,
    replicas=_COUNT,
    minReplicas=_COUNT,
    maxReplicas=_COUNT,
    numOfHosts=_COUNT,
    idleTimeoutSeconds=_COUNT,
    suspend=_FLAG,
    rayStartParams=_TEXTS,
    resources=_TEXTS,
    template=_TEMPLATE,
)
_CLUSTER = _object(
    ["headGroupSpec"],
    rayVersion=_TEXT,
    authOptions=_AUTH,
    enableInTreeAutoscaling=_FLAG,
    autoscalerOptions=_AUTOSCALER,
    suspend=_FLAG,
    headServiceAnnotations=_TEXTS,
    headGroupSpec=_HEAD,
    workerGroupSpecs={"type": "array", "items": _WORKER},
)
_JOB = _object(
    [],
    entrypoint=_TEXT,
    entrypointNumCpus={"type": "number"},
    entrypointNumGpus={"type": "number"},
    entrypointResources=_TEXT,
    runtimeEnvYAML=_TEXT,
    jobId=_TEXT,
    metadata=_TEXTS,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
    backoffLimit=_COUNT,
    activeDeadlineSeconds={"type": "integer", "minimum": 1},
    shutdownAfterJobFinishes=_FLAG,
    ttlSecondsAfterFinished=_COUNT,
    suspend=_FLAG,
    clusterSelector=_TEXTS,
    submitterPodTemplate=_TEMPLATE,
    rayClusterSpec=_CLUSTER,
)
_CRON_JOB = _object(["jobTemplate", "schedule"], schedule=_TEXT, timeZone=_TEXT, suspend=_FLAG, jobTemplate=_JOB)


def _kind(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return _object(
        ["apiVersion", "kind", "metadata", "spec"],
        apiVersion={"const": "ray.io/v1"},
        kind={"const": name},
        metadata={"type": "object", "required": ["name"]},
        spec=spec,
    )


KINDS = {
    name: _kind(name, spec) for name, spec in (("RayCluster", _CLUSTER), ("RayJob", _JOB), ("RayCronJob", _CRON_JOB))
}
