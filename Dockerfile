# Build it from a checkout: docker build --tag pg-operator:0.1.0 .
# Pin PYTHON to a digest where builds must be repeatable.
ARG PYTHON=python:3.13-slim-bookworm

FROM ${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
COPY requirements/build.lock requirements/runtime.lock requirements/
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes --requirement requirements/build.lock \
    && python -m venv /opt/pg-operator \
    && /opt/pg-operator/bin/pip install --require-hashes \
        --requirement requirements/runtime.lock
COPY . .
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/pg-operator/bin/pip install --no-deps --no-index dist/*.whl \
    && /opt/pg-operator/bin/pip uninstall --yes pip

FROM ${PYTHON}
# Nothing is written: not bytecode, not a home. The same Python as above, so that the
# environment's links lead somewhere.
ENV HOME=/nonexistent PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY --from=build /opt/pg-operator /opt/pg-operator
WORKDIR /opt/pg-operator
USER 65532:65532
ENTRYPOINT ["/opt/pg-operator/bin/pg-operator"]
