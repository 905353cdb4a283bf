"""Triton with PyTriton: a batching queue in C++, the image as one BYTES tensor, one Python process per core."""

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig
from work import CORES, PORT, Work


def peer():  # noqa: ANN201
    work = Work()
    names = work._names

    @batch
    def infer(image: np.ndarray) -> list[np.ndarray]:
        outputs = work.run(np.stack([work.decode(data) for (data,) in image]))
        return [outputs[name] for name in names]

    return infer


if __name__ == "__main__":
    config = TritonConfig(
        http_address="127.0.0.1", http_port=PORT, grpc_port=PORT + 1, metrics_port=PORT + 2, log_verbose=0
    )
    outputs = [Tensor(name=name, dtype=np.float32, shape=(-1,)) for name in Work()._names]
    with Triton(config=config) as triton:
        triton.bind(
            model_name="peer",
            infer_func=[peer() for _ in range(CORES)],
            inputs=[Tensor(name="image", dtype=bytes, shape=(1,))],
            outputs=outputs,
            config=ModelConfig(max_batch_size=4, batcher=DynamicBatcher(max_queue_delay_microseconds=0)),
        )
        triton.serve()
