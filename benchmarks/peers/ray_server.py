"""Ray Serve: one replica per core."""

import signal

import ray
from ray import serve
from starlette.requests import Request
from work import CORES, PORT, Work


@serve.deployment(num_replicas=CORES, ray_actor_options={"num_cpus": 1}, max_ongoing_requests=64)
class Peer:
    def __init__(self) -> None:
        self.work = Work()

    async def __call__(self, request: Request) -> dict[str, list[float]]:
        form = await request.form()
        return self.work.answer(await form["file"].read())


if __name__ == "__main__":
    ray.init(num_cpus=CORES, include_dashboard=False, log_to_driver=False, configure_logging=False)
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    serve.run(Peer.bind(), route_prefix="/predict")
    signal.sigwait([signal.SIGTERM, signal.SIGINT])
    serve.shutdown()
    ray.shutdown()
