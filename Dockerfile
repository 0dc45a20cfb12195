# One image for every process of keypool; compose.yaml says which one a container runs.

# The Python that the tests run on; any newer one resolves from the same lock.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS packages
WORKDIR /srv/keypool
COPY requirements.lock pyproject.toml LICENSE ./
# What keypool needs to run and no more, at the versions and hashes of the lock.
RUN sed -n '/^uv==/,/^ *#/p' requirements.lock > uv.txt \
 && pip install --no-cache-dir --require-hashes --requirement uv.txt \
 && python -m venv --without-pip /opt/keypool \
 && uv pip install --no-cache --python /opt/keypool/bin/python --editable . \
        --constraint requirements.lock --build-constraint requirements.lock

FROM python:${PYTHON}-slim
# The worker prints reports with it. Its own sandbox needs rights that containers do not have; it is
# shown our own pages alone, which load nothing.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends chromium fonts-liberation fonts-noto-core fonts-noto-cjk \
 && rm -rf /var/lib/apt/lists/* \
 && echo 'export CHROMIUM_FLAGS="$CHROMIUM_FLAGS --no-sandbox"' > /etc/chromium.d/container
RUN useradd --system --create-home --home-dir /var/lib/keypool keypool
COPY --from=packages /opt/keypool /opt/keypool
WORKDIR /srv/keypool
COPY . .
# Where analysts keep notebooks of their own.
RUN install --directory --owner keypool notebooks/own
USER keypool
ENV PATH=/opt/keypool/bin:$PATH \
    HOME=/var/lib/keypool \
    KEYPOOL_HOME=/var/lib/keypool \
    KEYPOOL_LOG_FORMAT=json
VOLUME /var/lib/keypool
