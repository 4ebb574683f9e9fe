"""Prometheus takes the configuration and the alerts, and every expression asks for what Ray exports."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml

from tests.deploy.files import DEPLOY, read_json, read_yaml
from tests.deploy.record_ray_metrics import RECORD

MONITORING = DEPLOY / "monitoring"
CONFIG = read_yaml(MONITORING / "prometheus.yml")[0]
RULES = [rule for group in read_yaml(MONITORING / "alerts.yml")[0]["groups"] for rule in group["rules"]]
DASHBOARD = read_json("monitoring/grafana-dashboard.json")
SEEN = json.loads(RECORD.read_text("utf-8"))
TARGETS = [
    pytest.param(target, id=f"{panel['title']}-{target['refId']}")
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
]
EXPRESSIONS = [target.values[0]["expr"] for target in TARGETS] + [rule["expr"] for rule in RULES]
OF_GPUS = {"ip", "GpuIndex", "GpuDeviceName"}
needs_promtool = pytest.mark.skipif(
    not shutil.which("promtool"), reason="promtool is not installed: apt install prometheus"
)


def metrics_of(expression: str) -> set[str]:
    return set(re.findall(r"\bray_\w+", expression))


def labels_of(expression: str) -> set[str]:
    """What it selects and groups by."""
    grouped = [word for group in re.findall(r"\bby \(([^)]*)\)", expression) for word in re.findall(r"\w+", group)]
    return set(re.findall(r'(\w+)=~?"', expression)) | set(grouped)


def of_gpus() -> set[str]:
    """What Ray exports only where there is a GPU, from its own definitions."""
    reporter = Path(ray.__file__).parent / "dashboard" / "modules" / "reporter" / "reporter_agent.py"
    return {
        f"ray_{name}" for name in re.findall(r'"(node_(?:gpus?|gram)_\w+)": Gauge\(', reporter.read_text("utf-8"))
    }


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_asks_for_metrics_and_labels_that_ray_exports(expression: str) -> None:
    metrics = metrics_of(expression) - of_gpus()
    assert metrics <= SEEN["metrics"].keys()
    known = OF_GPUS | {"job", "instance"}.union(*(SEEN["metrics"][name] for name in metrics))
    assert labels_of(expression) <= known


def test_the_recorded_scrape_is_of_the_version_that_is_pinned() -> None:
    pinned = re.search(r"^ray==(.+)$", (DEPLOY.parents[1] / "constraints.txt").read_text("utf-8"), re.MULTILINE)

    assert pinned and SEEN["ray"] == pinned[1]
    assert len(SEEN["metrics"]) > 90
    assert len(of_gpus()) >= 4


@pytest.mark.parametrize("metric", ["ray_node_cpu_utilisation", "ray_rows_total"])
def test_a_metric_that_does_not_exist_is_found_out(metric: str) -> None:
    """A negative control."""
    with pytest.raises(AssertionError):
        test_an_expression_asks_for_metrics_and_labels_that_ray_exports(f"sum({metric})")
    with pytest.raises(AssertionError):
        test_an_expression_asks_for_metrics_and_labels_that_ray_exports("sum by (Sate) (ray_actors)")


@pytest.mark.parametrize("target", TARGETS)
def test_a_panel_names_its_labels_and_asks_the_chosen_source(target: dict[str, Any]) -> None:
    assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels_of(target["expr"])
    assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_panels_lie_beside_each_other_and_say_what_they_show() -> None:
    panels = DASHBOARD["panels"]
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]

    assert len(panels) == len({panel["id"] for panel in panels}) >= 10
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24
    assert all(panel["description"] and panel["title"] for panel in panels)
    assert [each["name"] for each in DASHBOARD["templating"]["list"]] == ["datasource"]


def test_every_alert_says_what_is_wrong_and_what_to_do() -> None:
    for rule in RULES:
        assert rule["annotations"].keys() == {"summary", "remedy"}
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}
    assert len({rule["alert"] for rule in RULES}) == len(RULES)


def test_prometheus_finds_the_pods_by_the_ports_that_they_name() -> None:
    [pods] = [each for each in CONFIG["scrape_configs"] if "kubernetes_sd_configs" in each]
    assert pods["kubernetes_sd_configs"] == [{"role": "pod", "namespaces": {"names": ["autosteer"]}}]
    [ports] = [each for each in pods["relabel_configs"] if "port_name" in each["source_labels"][0]]
    cluster = (DEPLOY / "kubernetes" / "ray-cluster.yaml").read_text("utf-8")
    named = dict(re.findall(r"\{name: (\S+), containerPort: (\d+)\}", cluster))

    assert {number for name, number in named.items() if re.fullmatch(ports["regex"], name)} == {
        "8080",
        "44217",
        "44227",
    }


def test_every_alert_is_tested() -> None:
    cases = read_yaml(Path(__file__).with_name("alerts_test.yml"))[0]["tests"]
    fired = {case["alertname"] for test in cases for case in test["alert_rule_test"] if case["exp_alerts"]}
    quiet = {case["alertname"] for test in cases for case in test["alert_rule_test"] if not case["exp_alerts"]}

    assert fired == quiet == {rule["alert"] for rule in RULES}


@needs_promtool
def test_prometheus_takes_the_configuration(tmp_path: Path) -> None:
    """Debian's promtool is built without Kubernetes: there another discovery stands for it."""
    for each in CONFIG["scrape_configs"]:
        if each.pop("kubernetes_sd_configs", None):
            each["static_configs"] = [{"targets": ["127.0.0.1:1"]}]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(CONFIG))
    shutil.copy(MONITORING / "alerts.yml", tmp_path)

    promtool("check", "config", tmp_path / "prometheus.yml")


@needs_promtool
def test_every_alert_fires_when_it_should_and_not_before(tmp_path: Path) -> None:
    shutil.copy(MONITORING / "alerts.yml", tmp_path)
    shutil.copy(Path(__file__).with_name("alerts_test.yml"), tmp_path)

    promtool("test", "rules", tmp_path / "alerts_test.yml")


@needs_promtool
def test_prometheus_takes_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": target.values[0]["expr"]} for number, target in enumerate(TARGETS)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))

    promtool("check", "rules", tmp_path / "rules.yml")


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
