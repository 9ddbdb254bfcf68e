# One image, every part: `aftercall api`, `aftercall worker`, `aftercall beat`, `aftercall migrate`.
# Each turns into its program (exec), which is then the container's first process and gets its
# signals. The embedded stores are not in here: a container gets the URLs of its stores.
#
# Only pinned things are installed. Python packages come with their hashes, and as wheels: building
# one would fetch its build tools, which nobody pinned. To pin the base image as well, give it by
# digest: docker build --build-arg PYTHON=python:3.12-slim@sha256:… .
ARG PYTHON=python:3.12-slim

FROM ${PYTHON} AS builder
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /app

# The environment. It has no pip of its own.
COPY requirements.lock ./
RUN python -m venv --without-pip /opt/aftercall \
 && pip --python /opt/aftercall/bin/python install --require-hashes --only-binary :all: -r requirements.lock

# The build backend and what it needs, as the development lock pins them, beside the environment.
# pip refuses to go on when a pin or a hash is missing here.
COPY requirements-dev.lock ./
RUN awk '/^[a-z]/ {keep = /^(hatchling|packaging|pathspec|pluggy|tomlkit|trove-classifiers)==/} keep' requirements-dev.lock > build.lock \
 && pip install --require-hashes --only-binary :all: --target /opt/build-tools -r build.lock \
 && rm requirements.lock requirements-dev.lock build.lock

# As a wheel, which has the migrations, templates and CRMs inside.
COPY pyproject.toml README.md LICENSE ./
COPY alembic alembic
COPY aftercall aftercall
COPY api api
COPY worker worker
RUN PYTHONPATH=/opt/build-tools pip --python /opt/aftercall/bin/python install --no-index --no-deps --no-build-isolation .


FROM ${PYTHON}
LABEL org.opencontainers.image.title="aftercall" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/opt/aftercall/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin aftercall \
 && install -d -o 10001 -g 10001 -m 700 /var/lib/aftercall /var/lib/aftercall/media
COPY --from=builder /opt/aftercall /opt/aftercall
WORKDIR /app
# For `alembic`; `aftercall migrate` has them in the package.
COPY alembic.ini ./
COPY alembic alembic
# By number, so that an orchestrator can see that it is not root.
USER 10001
EXPOSE 8000
# Of the api. The other parts have checks of their own in docker-compose.yml.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8000, timeout=4); c.request('GET', '/healthz'); raise SystemExit(c.getresponse().status != 200)"]
CMD ["aftercall", "api", "--host", "0.0.0.0"]
