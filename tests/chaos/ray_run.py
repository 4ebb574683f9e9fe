"""A driver as `autosteer generate` is one, with the real pool on a Ray of its own and a judge that costs little."""

import sys
from functools import partial
from pathlib import Path

from autosteer_core.commit import seal
from autosteer_core.ports import PartQueue
from autosteer_core.records import read_records
from tests.chaos.worker_process import Site, behind
from workers.local_ray import local_ray
from workers.loop import PartWorker
from workers.ray_pool import Pool, PoolOptions

WORKERS = 3


def build(site: Site, name: str, queue: PartQueue) -> PartWorker:
    """Called inside a worker process."""
    return site.worker(name, queue, site.store)


def drive(site: Site) -> None:
    """Do, or continue, the run, and seal it; repeated after a crash it goes on."""
    known = read_records(site.store)
    parts = list(known.leaves(site.parts()))
    with local_ray(WORKERS):
        pool = Pool(PoolOptions(WORKERS))
        with pool.serving(site.queue) as queue:
            queue.add(parts)
            queue.mark_done(sorted(known.commits))
            for _ in pool.run(partial(build, site), len(parts)):
                pass
        pool.stop()
    seal(site.store, site.parts(), site.manifest.row_ids())


def site_at(folder: Path, rows: int) -> Site:
    """The same for every driver of a run, and for those who look at it."""
    return Site(folder, rows, rows_per_part=16, lease_seconds=5.0, row_seconds=0.03, writer=behind)


if __name__ == "__main__":
    drive(site_at(Path(sys.argv[1]), int(sys.argv[2])))
