"""BentoML: as many workers as cores, each with its own session."""

import os
import sys
from pathlib import Path

import bentoml
from work import CORES, PORT, Work


@bentoml.service(workers=CORES, threads=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Peer:
    def __init__(self) -> None:
        self.work = Work()

    @bentoml.api
    def predict(self, file: Path) -> dict[str, list[float]]:
        return self.work.answer(file.read_bytes())


if __name__ == "__main__":
    command = [sys.executable, "-m", "bentoml", "serve", "bentoml_server:Peer", "--host", "127.0.0.1", "-p", str(PORT)]
    os.execv(sys.executable, command)
