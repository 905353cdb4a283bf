"""LitServe: one worker process per core, several requests in a batch, threads in the batch's decoding."""

import litserve as ls
from work import CORES, PORT, Work, row


class Api(ls.LitAPI):
    def setup(self, device: str) -> None:  # noqa: ARG002
        self.work = Work()

    def decode_request(self, request):  # noqa: ANN001, ANN201
        return request["file"].file.read()

    def predict(self, data: bytes):  # noqa: ANN201
        return self.work.run(self.work.decode(data)[None])

    def encode_response(self, output):  # noqa: ANN001, ANN201
        return row(output, 0)


if __name__ == "__main__":
    server = ls.LitServer(Api(), accelerator="cpu", workers_per_device=CORES)
    server.run(host="127.0.0.1", port=PORT, log_level="warning", access_log=False, generate_client_file=False)
