# featcache with everything that the demo needs, for a CPU. `.ci/docker-steps.sh` runs the same steps where no
# container engine is at hand: keep the two alike (a test compares them).
FROM python:3.11-slim
WORKDIR /src
COPY . .
RUN python -m venv /opt/featcache
RUN /opt/featcache/bin/python -m pip install --no-cache-dir --upgrade pip
RUN /opt/featcache/bin/python -m pip install --no-cache-dir ".[demo]"
RUN /opt/featcache/bin/featcache doctor --json
ENV PATH="/opt/featcache/bin:$PATH"
WORKDIR /data
ENTRYPOINT ["featcache"]
CMD ["--help"]
