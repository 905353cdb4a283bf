# The service alone: no TensorFlow, no compiler, not root.
#   docker build .                             runs on the CPU of any machine
#   docker build --build-arg DEVICE=cuda .     runs on an NVIDIA GPU; brings CUDA and cuDNN as Python packages
# Training and export, on the CPU:
#   docker build --target training .
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
ARG DEVICE=cpu
COPY deploy/requirements/serve-${DEVICE}.txt /tmp/requirements.txt
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv/bin/python install --require-hashes --only-binary :all: -r /tmp/requirements.txt \
    && pip --python /opt/venv/bin/python check
COPY app /opt/multipool/app
COPY models /models
# The user of the image is not the owner of these files, which may be unreadable for others, depending on the umask.
RUN python -m compileall -q /opt/multipool/app && chmod -R a+rX /opt/multipool /models

FROM python:${PYTHON}-slim AS training
COPY deploy/requirements/export.txt /tmp/requirements.txt
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv/bin/python install --require-hashes --only-binary :all: -r /tmp/requirements.txt \
    && pip --python /opt/venv/bin/python check
COPY app /opt/multipool/app
COPY model_export /opt/multipool/model_export
# Decoded images and downloaded weights are kept in the home folder, which belongs to everybody: see below.
RUN python -m compileall -q /opt/multipool && chmod -R a+rX /opt/multipool && mkdir --mode=1777 /cache
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/multipool \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/cache
WORKDIR /work
# Whoever owns the folder that is mounted here also owns what is written into it.
ENTRYPOINT ["sh", "-c", "exec setpriv --reuid=$(stat -c %u .) --regid=$(stat -c %g .) --clear-groups python -m model_export \"$@\"", "model_export"]

FROM python:${PYTHON}-slim
ARG DEVICE=cpu
ARG REVISION=unknown
LABEL org.opencontainers.image.title="multipool" \
      org.opencontainers.image.description="Serves four-branch (multi-pool) image classifiers over HTTP" \
      org.opencontainers.image.version="1.0.0" \
      org.opencontainers.image.revision="${REVISION}" \
      multipool.device="${DEVICE}"
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/multipool /opt/multipool
COPY --from=build /models /models
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MULTIPOOL_HOST=0.0.0.0 \
    MULTIPOOL_PORT=8000 \
    MULTIPOOL_MODELS_DIR=/models \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /opt/multipool
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --start-interval=1s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ['MULTIPOOL_PORT']}/readyz\", timeout=2)"]
CMD ["python", "-m", "app"]
