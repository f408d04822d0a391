# The gateway's image: one instance, that is a supervisor with its web workers and dispatchers.
#
# Needs no compiler: every dependency is installed from a wheel whose hash is in requirements.lock.

FROM python:3.13-slim AS dependencies
# A venv of its own, so that only what the lock names is in it; copied whole, without pip.
RUN python -m venv --without-pip /opt/venv
COPY requirements.lock /tmp/
RUN pip --python /opt/venv/bin/python install --no-cache-dir --disable-pip-version-check \
        --no-deps --require-hashes --only-binary :all: -r /tmp/requirements.lock

FROM python:3.13-slim
LABEL org.opencontainers.image.title="rinha-payment-gateway" \
      org.opencontainers.image.description="A payment gateway that settles each accepted payment once" \
      org.opencontainers.image.licenses="MIT"

# Docker gives a new volume the owner and mode of the folder it is mounted on. These three are those folders:
#   /var/lib/shm-owner  the segments; the same volume is mounted on /dev/shm, whose own mode is not wanted
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
# The debugging view of a segment, for `docker compose run --rm --no-deps --entrypoint python app1 -m tools.ring_view app1`.
COPY tools/__init__.py tools/
COPY tools/ring_view/ tools/ring_view/
# Readable for the user below, whatever umask the clone was made under. The root folder is read-only when it runs.
# Unchecked: nothing compares time stamps of sources that can't change.
RUN chmod -R a+rX . \
    && /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash shm server tools

# MALLOC_ARENA_MAX: memory is scarcer than threads. MALLOC_MMAP_THRESHOLD_ (1 MB): a large table goes back to the kernel
# when it is freed; without it glibc raises the threshold as it goes and keeps 10 MB of an outgrown one.
# PYTHONUNBUFFERED: a last word is seen even of a killed process.
ENV PATH=/opt/venv/bin:$PATH \
    MALLOC_ARENA_MAX=1 \
    MALLOC_MMAP_THRESHOLD_=1048576 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
# The supervisor is process 1: it reaps its children and forwards the stop (SIGTERM) to them.
CMD ["python", "-m", "server"]
