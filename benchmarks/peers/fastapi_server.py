"""The thirty lines that one writes first: FastAPI, ONNX Runtime, a worker."""

import uvicorn
from fastapi import FastAPI, UploadFile
from work import CORES, PORT, Work

work = Work(CORES)
app = FastAPI()


@app.post("/predict")
def predict(file: UploadFile) -> dict[str, list[float]]:
    return work.answer(file.file.read())


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=PORT, access_log=False, log_level="warning")
