"""Write down which metrics a real Ray exports, with which labels: `python -m tests.deploy.record_ray_metrics`.

Needs `ray[default]`, which the tests do without: a plain Ray has no metrics endpoint. Run it anew after an upgrade.
"""

import json
import os
import re
import time
import urllib.request
from pathlib import Path

RECORD = Path(__file__).with_name("ray_metrics.json")
_PLACES = Path("/tmp/ray/prom_metrics_service_discovery.json")
_LINE = re.compile(r"^(ray_\w+)\{(.*)\} ", re.MULTILINE)
_SETTLE_SECONDS = 35.0  # Ray exports every 10 seconds, and some metrics only once they have a value


def main() -> None:
    os.environ["RAY_AUTH_MODE"] = "token"  # Ray reads it once
    import ray

    ray.init(address="local", include_dashboard=True, num_cpus=2, log_to_driver=False)
    actor = ray.remote(_Echo).remote()
    ray.get([actor.say.remote(ray.put(bytes(10_000_000))) for _ in range(5)])
    time.sleep(_SETTLE_SECONDS)
    found: dict[str, set[str]] = {}
    for place in json.loads(_PLACES.read_text())[0]["targets"]:
        with urllib.request.urlopen(f"http://{place}/metrics", timeout=10) as reply:
            for name, labels in _LINE.findall(reply.read().decode()):
                found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    ray.shutdown()
    metrics = {
        name: sorted(label for label in found[name] if not label.startswith("otel_")) for name in sorted(found)
    }
    kept = {name: labels for name, labels in metrics.items() if not name.endswith(("_bucket", "_created"))}
    RECORD.write_text(json.dumps({"ray": ray.__version__, "metrics": kept}, indent=0) + "\n")


class _Echo:
    def say(self, value: bytes) -> int:
        return len(value)


if __name__ == "__main__":
    main()
