"""MLServer: a runtime of its own, the image as one BYTES tensor of the V2 protocol; no second process pool."""

import asyncio
from base64 import b64decode

from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from work import CORES, PORT, Work


class Peer(MLModel):
    async def load(self) -> bool:
        self.work = Work()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        data = b64decode(payload.inputs[0].data[0])
        outputs = await asyncio.to_thread(lambda: self.work.run(self.work.decode(data)[None]))
        return InferenceResponse(
            model_name="peer", outputs=[NumpyCodec.encode_output(name, value) for name, value in outputs.items()]
        )


async def main() -> None:
    server = MLServer(
        Settings(
            host="127.0.0.1",
            http_port=PORT,
            grpc_port=PORT + 1,
            metrics_port=PORT + 2,
            parallel_workers=CORES,
            debug=False,
            use_structured_logging=False,
        )
    )
    await server.start([ModelSettings(name="peer", implementation=Peer)])


if __name__ == "__main__":
    asyncio.run(main())
