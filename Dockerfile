# The images of Memkeep, for people with a builder; `make images` makes the same two without one.
#
#   docker build --target manager -t memkeep.io/manager .
#   docker build --target cache-server -t memkeep.io/cache-server .
#
# Each holds one static binary and nothing else, and runs as a numeric user that is nobody's.

# BASE: what the binary is put on. BIN_STAGE: "compile" compiles it here, "prebuilt" takes it from bin/.
ARG BASE=scratch
ARG BIN_STAGE=compile
ARG GO_IMAGE=golang:1.26

FROM ${GO_IMAGE} AS compile
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS
ARG TARGETARCH
ENV CGO_ENABLED=0 GOFLAGS="-trimpath -buildvcs=false" GOOS=${TARGETOS} GOARCH=${TARGETARCH}
RUN LDFLAGS="-s -w -X main.version=$(cat VERSION)" && \
    go build -ldflags "$LDFLAGS" -o /bin/manager ./cmd/manager && \
    go build -ldflags "$LDFLAGS" -o /bin/cache-server ./cache-server

FROM scratch AS prebuilt
COPY bin/manager bin/cache-server /bin/

FROM ${BIN_STAGE} AS bin

FROM ${BASE} AS manager
COPY --from=bin --chmod=0755 /bin/manager /manager
USER 65532:65532
ENTRYPOINT ["/manager"]

FROM ${BASE} AS cache-server
COPY --from=bin --chmod=0755 /bin/cache-server /cache-server
USER 65532:65532
ENTRYPOINT ["/cache-server"]
