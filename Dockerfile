# Three images, each with the packages that its processes need: compose.yaml says who runs which.
#
#   web        serves requests: no Jupyter, no browser, no embedded servers
#   worker     the worker, the scheduler and the command line; makes reports, and prints them
#   notebooks  JupyterLab for analysts

# The Python that the tests run on; any newer one resolves from the same lock.
ARG PYTHON=3.11

# -------------------------------------------------------------------- packages

FROM python:${PYTHON}-slim AS web-packages
# More for all images, such as [traces].
ARG EXTRAS=
WORKDIR /srv/keypool
COPY requirements.lock pyproject.toml LICENSE ./
# Everything below comes at the versions and hashes of the lock.
ENV UV_PYTHON=/opt/keypool/bin/python \
    UV_CONSTRAINT=requirements.lock \
    UV_BUILD_CONSTRAINT=requirements.lock \
    UV_COMPILE_BYTECODE=1 \
    UV_NO_CACHE=1
RUN sed -n '/^uv==/,/^ *#/p' requirements.lock > uv.txt \
 && pip install --no-cache-dir --require-hashes --requirement uv.txt \
 && python -m venv --without-pip /opt/keypool \
 && uv pip install --editable .${EXTRAS}

FROM web-packages AS worker-packages
RUN uv pip install --editable .[reports]

FROM worker-packages AS notebooks-packages
RUN uv pip install --editable .[notebooks]

# ---------------------------------------------------------------------- images

# With its bytecode, as the packages have theirs: the user who runs it may write neither.
FROM python:${PYTHON}-slim AS source
WORKDIR /srv/keypool
COPY . .
RUN python -m compileall -q worker webhook

FROM python:${PYTHON}-slim AS system
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/keypool keypool
ENV PATH=/opt/keypool/bin:$PATH \
    HOME=/var/lib/keypool \
    KEYPOOL_HOME=/var/lib/keypool \
    KEYPOOL_LOG_FORMAT=json
VOLUME /var/lib/keypool
WORKDIR /srv/keypool

FROM system AS web
COPY --from=web-packages /opt/keypool /opt/keypool
COPY --from=source /srv/keypool .
USER keypool

FROM system AS notebooks
COPY --from=notebooks-packages /opt/keypool /opt/keypool
COPY --from=source /srv/keypool .
# Where analysts keep notebooks of their own.
RUN install --directory --owner keypool notebooks/own
USER keypool

FROM system AS worker
# Prints reports. Its own sandbox needs rights that containers do not have; it is shown our own
# pages alone, which load nothing.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends chromium fonts-liberation fonts-noto-core fonts-noto-cjk \
 && rm -rf /var/lib/apt/lists/* \
 && echo 'export CHROMIUM_FLAGS="$CHROMIUM_FLAGS --no-sandbox"' > /etc/chromium.d/container
COPY --from=worker-packages /opt/keypool /opt/keypool
COPY --from=source /srv/keypool .
USER keypool
