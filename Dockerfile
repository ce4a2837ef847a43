# The image of one service: docker build --build-arg SERVICE=memory --tag memgpt-memory .
# SERVICE is memory, loader or agent. BuildKit and the classic builder both work.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ARG SERVICE
# For the Loader: languages of text in pictures, as Debian names Tesseract's data: "eng deu". loader.ocr_languages turns it on.
ARG OCR_LANGUAGES=""
# For Memory: whether it can use a local transformer, which memory.embedding = "onnx" and memory.embedding_folder name.
ARG ONNX=""
WORKDIR /src
# System certificates: an index that pip trusts is one that uv trusts.
ENV UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_SYSTEM_CERTS=1
COPY constraints.txt ./
# The lock pins uv itself, too. uv checks the hashes of constraints; pip only those of requirements, so it gets uv's lines.
RUN sed -n '/^uv==/,/[^\\]$/p' constraints.txt >/tmp/uv.txt \
 && pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore --require-hashes -r /tmp/uv.txt \
 && python3 -m venv --without-pip /opt/memgpt
# What the service needs from the index. Only metadata is copied here, so that a change of code keeps this layer.
COPY pyproject.toml ./
COPY gen/python/pyproject.toml gen/python/
COPY libs/config/pyproject.toml libs/config/
COPY clients/python/pyproject.toml clients/python/
COPY clients/cli/pyproject.toml clients/cli/
COPY services/runtime/pyproject.toml services/runtime/
COPY services/memory/pyproject.toml services/memory/
COPY services/loader/pyproject.toml services/loader/
COPY services/agent/pyproject.toml services/agent/
RUN uv pip compile --quiet --extra otel ${OCR_LANGUAGES:+--extra ocr} ${ONNX:+--extra onnx} --constraints constraints.txt --output-file /tmp/requirements.txt \
      "services/${SERVICE:?give --build-arg SERVICE=memory, loader or agent}/pyproject.toml" \
 && sed -i '/^-e /d; /^wordllama==/d' /tmp/requirements.txt \
 && if [ "${SERVICE}" = memory ]; then \
      # Only the weights of wordllama are used: where it has no wheel for this machine, that of another one will do.
      uv pip install --python /opt/memgpt/bin/python --constraints constraints.txt --no-deps \
        --python-platform x86_64-manylinux_2_28 --python-version 3.13 wordllama; \
    fi \
 && uv pip install --python /opt/memgpt/bin/python --constraints constraints.txt --requirements /tmp/requirements.txt
COPY LICENSE ./
COPY gen gen
COPY libs libs
COPY services services
RUN uv pip install --python /opt/memgpt/bin/python --no-deps --build-constraints constraints.txt \
      ./gen/python ./libs/config ./services/runtime "./services/${SERVICE}" \
 && ln -s "memgpt-${SERVICE}" /opt/memgpt/bin/memgpt-service \
 && rm -f /opt/memgpt/.lock

FROM ${PYTHON_IMAGE}
ARG SERVICE
ARG VERSION=dev
ARG REVISION=unknown
ARG OCR_LANGUAGES=""
LABEL org.opencontainers.image.title="memgpt-${SERVICE}" \
      org.opencontainers.image.description="MemGPT on Milvus: the service ${SERVICE}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# A new volume takes the owner of the folder that it is mounted on, such as the Loader's spool and the credentials. OpenShift runs containers
# with an arbitrary user id in group 0, which therefore may write.
RUN groupadd --gid 10001 memgpt \
 && useradd --uid 10001 --gid 10001 --no-log-init --no-create-home --home-dir /var/lib/memgpt \
      --shell /usr/sbin/nologin memgpt \
 && install -d -o 10001 -g 0 -m 0770 /var/lib/memgpt /var/lib/memgpt/spool \
      /var/lib/memgpt/credentials
# Debian keeps one version of these data.
# hadolint ignore=DL3008
RUN if [ -n "${OCR_LANGUAGES}" ]; then \
      for language in ${OCR_LANGUAGES}; do set -- "$@" "tesseract-ocr-${language}"; done \
      && apt-get update -qq \
      && apt-get install -y -qq --no-install-recommends "$@" \
      && rm -rf /var/lib/apt/lists/*; \
    fi
COPY --from=build /opt/memgpt /opt/memgpt
# A service reads only the settings of its own section. glibc would have 8 arenas for each core of the host, which keep
# memory that is no longer used.
ENV PATH=/opt/memgpt/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1 \
    MALLOC_ARENA_MAX=2 \
    SERVICE=${SERVICE} \
    MEMGPT_HOME=/var/lib/memgpt \
    MEMGPT_SERVER_LOG_FORMAT=json \
    MEMGPT_AGENT_HOST=0.0.0.0 \
    MEMGPT_AGENT_PORT=50051 \
    MEMGPT_MEMORY_HOST=0.0.0.0 \
    MEMGPT_MEMORY_PORT=50052 \
    MEMGPT_LOADER_HOST=0.0.0.0 \
    MEMGPT_LOADER_PORT=50053
WORKDIR /
USER 10001:10001
STOPSIGNAL SIGTERM
# Ready, not only alive: without Milvus Memory is unhealthy, without Memory the others are. A Milvus server that was killed
# may take a minute and a half to come back. With TLS, give the probe its --tls-* options.
HEALTHCHECK --interval=10s --timeout=5s --start-period=180s --retries=3 \
  CMD ["sh", "-c", "exec python -m memgpt_runtime.probe 127.0.0.1:$(printenv MEMGPT_$(printf %s $SERVICE | tr a-z A-Z)_PORT)"]
ENTRYPOINT ["memgpt-service"]
