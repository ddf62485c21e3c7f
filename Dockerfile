# The image of every service that is ours: `docker build -t headwater .`; it runs the command `headwater`, as nobody
# special.
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim AS build
WORKDIR /src
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY catalog ./catalog
COPY streams ./streams
COPY operators ./operators
COPY headwater ./headwater
COPY migrations ./migrations
RUN python -m venv /opt/headwater
RUN /opt/headwater/bin/python -m pip install --no-cache-dir --constraint constraints.txt ".[kafka,fast,faust,postgres,learn,demo]"
# Tests of the packages that we stand on are a tenth of the image.
RUN find /opt/headwater -type d -name tests -prune -exec rm -r {} +

FROM python:${PYTHON_VERSION}-slim
RUN useradd --create-home --uid 10001 headwater
RUN install --directory --owner=headwater /var/lib/headwater
COPY --from=build /opt/headwater /opt/headwater
WORKDIR /app
COPY examples ./examples
ENV PATH=/opt/headwater/bin:$PATH
ENV PYTHONUNBUFFERED=1
ENV HEADWATER_WORKSPACE=/var/lib/headwater
USER headwater
VOLUME /var/lib/headwater
ENTRYPOINT ["headwater"]
CMD ["--help"]
