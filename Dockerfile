# The gateway's image. A container of it is one instance: a supervisor with its web workers and dispatchers.
#
# Needs no compiler: every dependency is installed from a wheel whose hash is in requirements.lock.

FROM python:3.13-slim AS dependencies
# A venv, so that the image below gets only the locked packages, without pip.
RUN python -m venv --without-pip /opt/venv
COPY requirements.lock /tmp/
RUN pip --python /opt/venv/bin/python install --no-cache-dir --disable-pip-version-check \
        --no-deps --require-hashes --only-binary :all: -r /tmp/requirements.lock

FROM python:3.13-slim
LABEL org.opencontainers.image.title="rinha-payment-gateway" \
      org.opencontainers.image.description="A payment gateway that settles each accepted payment once" \
      org.opencontainers.image.licenses="MIT"

# Docker gives a new volume the owner and mode of the folder it is mounted on. Hence these three folders:
#   /var/lib/shm-owner  the segments; the same volume is also mounted on /dev/shm, which has the wrong mode
#   /run/gateway        the workers' sockets; setgid, so that they belong to HAProxy's group (99) in its images
#   /run/redis          Redis's socket
RUN groupadd --gid 10001 gateway \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin gateway \
    && install -d -o 10001 -g 10001 -m 700 /var/lib/shm-owner /run/redis \
    && install -d -o 10001 -g 99 -m 2750 /run/gateway

COPY --from=dependencies /opt/venv /opt/venv
WORKDIR /app
COPY shm/ shm/
COPY server/ server/
# For looking into a segment: docker compose run --rm --no-deps --entrypoint python app1 -m tools.ring_view app1
COPY tools/__init__.py tools/arguments.py tools/
COPY tools/ring_view/ tools/ring_view/
# chmod: the user below must be able to read the files, whatever umask the clone was made under.
# compileall: Python can't write .pyc files later, in a read-only root. Unchecked, as these sources never change.
RUN chmod -R a+rX . \
    && /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash shm server tools

# MALLOC_ARENA_MAX: saves memory; there are few threads. MALLOC_MMAP_THRESHOLD_ (1 MB): a large table goes back to the
# kernel when it is freed; by default glibc raises the threshold over time and keeps 10 MB of an outgrown table.
# PYTHONUNBUFFERED: the last output of a killed process is not lost.
ENV PATH=/opt/venv/bin:$PATH \
    MALLOC_ARENA_MAX=1 \
    MALLOC_MMAP_THRESHOLD_=1048576 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
# The supervisor is process 1: it reaps its children and forwards the stop (SIGTERM) to them.
CMD ["python", "-m", "server"]
