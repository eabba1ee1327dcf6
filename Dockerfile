ARG PYTHON_IMAGE=python:3.12-slim-bookworm

# The project's wheel is built apart, so that what builds it is not in the image.
FROM ${PYTHON_IMAGE} AS build
WORKDIR /build
RUN python -m venv /venv
COPY requirements-build.lock .
RUN /venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements-build.lock
COPY . .
RUN /venv/bin/python -m hatchling build -t wheel -d /wheel

FROM ${PYTHON_IMAGE}
# tini, so that pid 1 hands on signals and waits for what the embedded PostgreSQL leaves behind.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/*
# PostgreSQL refuses to run as root, and wants a name for its user. The number is fixed: volumes keep it.
RUN groupadd --gid 2525 email-router \
    && useradd --uid 2525 --gid 2525 --no-create-home --home-dir /var/lib/email-router --shell /usr/sbin/nologin email-router \
    && install -d -o email-router -g email-router -m 0700 /var/lib/email-router \
    && install -d /etc/email-router

RUN python -m venv /opt/email-router
COPY requirements.lock /opt/email-router/
RUN /opt/email-router/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r /opt/email-router/requirements.lock
COPY --from=build /wheel /tmp/wheel
RUN /opt/email-router/bin/pip install --no-cache-dir --disable-pip-version-check --no-index --no-deps /tmp/wheel/*.whl \
    && rm -r /tmp/wheel

ENV PATH=/opt/email-router/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    EMAIL_ROUTER_PROFILES=/etc/email-router \
    EMAIL_ROUTER_DATA=/var/lib/email-router
USER 2525:2525
WORKDIR /var/lib/email-router
VOLUME ["/var/lib/email-router", "/etc/email-router"]
STOPSIGNAL SIGTERM
# Healthy while the process lives, also while it waits for its first profile or its database: a restart helps neither.
HEALTHCHECK --interval=30s --timeout=10s --start-period=20s CMD ["email-router", "healthz"]
# -s: also where it is not pid 1, as with docker run --init.
ENTRYPOINT ["tini", "-s", "--", "email-router"]
CMD ["run", "--wait"]
