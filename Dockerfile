# The server alone, with the CPU engine; --build-arg TIER=gpu has TensorFlow for CUDA.
#   docker build -t speaker-identification .
FROM python:3.12-slim-bookworm AS build
ARG TIER=server
WORKDIR /build
COPY requirements/${TIER}.txt requirements.txt
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --requirement requirements.txt

FROM python:3.12-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /app --shell /usr/sbin/nologin speakers \
    && install --directory --owner speakers --group speakers --mode 0700 /gallery
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
COPY LICENSE app.py ./
COPY best_model best_model
COPY utils utils
COPY web web
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SPEAKER_HOST=0.0.0.0 \
    SPEAKER_GALLERY=/gallery \
    SPEAKER_LOG_FORMAT=json
USER 10001
VOLUME /gallery
EXPOSE 5000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:5000/readyz', timeout=4)"]
ENTRYPOINT ["python", "app.py"]
