# Memkeep. `make help` lists the targets; README.md tells what they are for.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

CLUSTER        ?= dev
IMAGE_REGISTRY ?= memkeep.io
FUZZTIME       ?= 30s
RACE_COMMANDS  ?= 20000
SOAK_COMMANDS  ?= 4000000
BENCH_FLAGS    ?=
SCALE_FLAGS    ?=
MEMKEEP_GITOPS_QUIET ?= 5m
MEMKEEP_CACHE  ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/memkeep
KUBEBUILDER_ASSETS ?= $(MEMKEEP_CACHE)/bin
VERSION        := $(shell cat VERSION)
export CLUSTER IMAGE_REGISTRY MEMKEEP_CACHE KUBEBUILDER_ASSETS VERSION

# One set of flags everywhere: -trimpath changes the build cache's keys.
export GOFLAGS := -trimpath -buildvcs=false
export CGO_ENABLED := 0

LDFLAGS := -s -w -X main.version=$(VERSION)

##@ The two commands

.PHONY: demo
demo: cluster-load install-yaml ## Bring everything up and show who gets in and who does not.
	@$(E2E_ENV) go run ./hack/demo

.PHONY: test
test: ## Everything: generated files, lint, unit, race, fuzz, envtest, differential, image, end-to-end.
	@hack/test.sh

##@ Build

.PHONY: build
build: ## Static bin/manager and bin/cache-server.
	go build -ldflags '$(LDFLAGS)' -o bin/manager ./cmd/manager
	go build -ldflags '$(LDFLAGS)' -o bin/cache-server ./cache-server
	go build -ldflags '-s -w' -o bin/dialer ./test/dialer

.PHONY: build-arm64
build-arm64: ## The same for 64-bit arm, in bin/arm64.
	GOARCH=arm64 go build -ldflags '$(LDFLAGS)' -o bin/arm64/manager ./cmd/manager
	GOARCH=arm64 go build -ldflags '$(LDFLAGS)' -o bin/arm64/cache-server ./cache-server

.PHONY: images
images: build ## dist/images/*.tar without a registry, and dist/images/refs.
	hack/images.sh

.PHONY: install-yaml
install-yaml: images ## dist/install.yaml for the images in dist/images/refs.
	hack/install-yaml.sh

.PHONY: generate
generate: ## Deepcopy, apply configurations, CRD and RBAC from the Go sources, and the Helm chart from these and its values.
	hack/generate.sh

.PHONY: clean
clean: ## Remove bin/ and dist/. The build cache and the cluster stay.
	rm -rf bin dist

##@ The development cluster (CLUSTER=dev|kind|current, NODES=1|2, CNI=cilium|ptp|bridge)

.PHONY: cluster-up
cluster-up: ## A real Kubernetes on this machine, NetworkPolicy enforced; waits until it is Ready.
	hack/cluster/up.sh

.PHONY: cluster-down
cluster-down: ## Remove the cluster and all that it added.
	hack/cluster/down.sh

.PHONY: cluster-status
cluster-status: ## Nodes, versions, network flavour, health and memory of the cluster.
	hack/cluster/status.sh

.PHONY: cluster-load
cluster-load: cluster-up images ## Bring the images into the cluster's nodes.
	hack/cluster/load.sh dist/images/*.tar

.PHONY: kubeconfig
kubeconfig: ## Print the path of the cluster's kubeconfig.
	@hack/cluster/kubeconfig.sh

##@ Tests

E2E_ENV = KUBECONFIG=$$(hack/cluster/kubeconfig.sh) MEMKEEP_INSTALL_YAML=$(CURDIR)/dist/install.yaml \
	MEMKEEP_DIALER_IMAGE=$$(head -n1 dist/images/test-refs) MEMKEEP_CACHE_IMAGE=$$(sed -n 2p dist/images/refs) \
	MEMKEEP_EXEC_NODE=$(CURDIR)/hack/cluster/exec-node.sh

.PHONY: test-deps
test-deps: ## Kubernetes' binaries for the API tests and Debian's memcached and strace to compare with.
	hack/cluster/build.sh assets
	hack/debs.sh memcached
	hack/debs.sh strace

.PHONY: test-unit
test-unit: test-deps ## Unit tests, and the API and reconcile tests on a real API server.
	go test -count=1 -timeout 15m $(UNIT)
	go test -C hack/tools -count=1 ./...

.PHONY: test-race
test-race: test-deps ## The cache server and the pure rooms under the race detector.
	MEMKEEP_DIFF_COMMANDS=$(RACE_COMMANDS) CGO_ENABLED=1 go test -count=1 -race -timeout 15m $(RACE)

.PHONY: test-clients
test-clients: ## Real clients in six languages, text, binary and meta, against our binary and against memcached.
	hack/debs.sh memcached >/dev/null
	go test -tags clients -count=1 -timeout 10m -parallel 8 -v ./test/clients

.PHONY: test-fuzz
test-fuzz: ## Every fuzz target for FUZZTIME beyond its seeds.
	hack/fuzz.sh $(FUZZTIME)

.PHONY: test-memory
test-memory: ## The cache server in a memory cgroup with a pod's limit, while clients do their worst. Needs root.
	go test -tags memory -count=1 -v -timeout 10m ./test/memory

.PHONY: test-image
test-image: build ## Build the Dockerfile offline with buildah and look into the images.
	hack/test-image.sh

.PHONY: test-arm64
test-arm64: ## The cache server for 64-bit arm; its engine and protocols tested under Debian's qemu-user.
	hack/test-arm64.sh

.PHONY: test-e2e
test-e2e: cluster-load install-yaml ## Every promise to users, by dialling on the real cluster.
	$(E2E_ENV) go test -tags e2e -count=1 -timeout 30m -v ./test/e2e/...

.PHONY: test-attack
test-attack: cluster-load install-yaml ## Outsiders' attempts to read a fleet, and docs/security-model.md's table against what they came to.
	rm -f dist/attack.json
	$(E2E_ENV) MEMKEEP_ATTACK_RESULTS=$(CURDIR)/dist/attack.json \
		go test -tags e2e -count=1 -timeout 15m -v ./test/attack
	go run ./hack/attacktable -check dist/attack.json docs/security-model.md

.PHONY: attack-table
attack-table: ## docs/security-model.md's table of attempts from the last make test-attack.
	go run ./hack/attacktable dist/attack.json docs/security-model.md

.PHONY: test-chart
test-chart: ## The Helm chart without a cluster: lint, values good and bad, config/ compared, the API server's word; kstatus.
	hack/cluster/build.sh assets
	hack/helm.sh >/dev/null
	go test -tags chart -count=1 -timeout 10m -v ./test/chart
	go test -C test/ecosystem -count=1 -timeout 10m -v ./...

.PHONY: test-helm
test-helm: cluster-load install-yaml ## Helm 3 and Helm 4 on the real cluster: install, test, upgrade, rollback, uninstall, reinstall.
	hack/helm.sh >/dev/null
	$(E2E_ENV) go test -tags e2e -count=1 -timeout 20m -v ./test/helm

.PHONY: test-gitops
test-gitops: cluster-load install-yaml ## Argo CD's own controllers and examples/gitops on the real cluster, then MEMKEEP_GITOPS_QUIET of quiet.
	hack/helm.sh >/dev/null
	hack/argo/build.sh
	go test -C hack/argo -count=1 ./health
	$(E2E_ENV) MEMKEEP_ARGO=$(CURDIR)/hack/argo MEMKEEP_GITOPS_QUIET=$(MEMKEEP_GITOPS_QUIET) \
		go test -tags e2e -count=1 -timeout 25m -v ./test/gitops

.PHONY: test-conformance
test-conformance: ## memcached's own test scripts, 1.6.18's from Debian's source or MEMCACHED_SRC=/path, against our binary.
	MEMCACHED_SRC="$${MEMCACHED_SRC:-$$(hack/source.sh memcached)}" go test -tags conformance -count=1 -v -timeout 20m ./test/conformance

.PHONY: soak
soak: test-deps ## Long lane: millions of commands against memcached, every fuzz target for ten minutes.
	MEMKEEP_CHAOS_SECONDS=120 go test -count=1 -timeout 1h -v -run TestChaos ./cache-server
	MEMKEEP_LINEAR_REQUESTS=20000 go test -count=1 -timeout 1h -v ./test/linearizability
	MEMKEEP_DIFF_COMMANDS=$(SOAK_COMMANDS) go test -count=1 -timeout 2h -v -run TestSameRepliesAsMemcached ./test/differential
	hack/fuzz.sh 10m

.PHONY: bench
bench: ## Long lane: CPU, latency and memory beside memcached's. BENCH_FLAGS=-quick takes two minutes, -help tells more.
	hack/debs.sh memcached
	hack/debs.sh strace
	go build -ldflags '$(LDFLAGS)' -o bin/cache-server ./cache-server
	go build -o bin/ ./test/bench ./test/bench/density ./test/bench/hitratio
	@bin/bench $(BENCH_FLAGS)

.PHONY: scale
scale: test-deps ## Long lane: the operator's CPU, memory and requests at 1, 100 and 1,000 fleets of three, on played nodes.
	hack/kwok.sh >/dev/null
	go build -ldflags '$(LDFLAGS)' -o bin/manager ./cmd/manager
	go build -o bin/scale ./test/scale
	@bin/scale $(SCALE_FLAGS)

.PHONY: lint
lint: ## golangci-lint with the rooms' import rules and kube-api-linter; shellcheck.
	hack/lint.sh run ./...
	hack/debs.sh shellcheck >/dev/null
	$(MEMKEEP_CACHE)/bin/shellcheck -x hack/*.sh hack/lib/*.sh hack/cluster/*.sh hack/cluster/*/*.sh hack/argo/*.sh .ci/run

.PHONY: verify-generated
verify-generated: ## Fail when generated files are not current.
	hack/verify-generated.sh

UNIT = ./...
RACE = ./cache-server/... ./controllers/resources/... ./controllers/access/... ./controllers/rollout/... ./test/differential/... ./test/linearizability/... ./test/envtest/controllers/...

.PHONY: print-%
print-%:
	@echo $($*)

##@ Help

.PHONY: help
help: ## This list.
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
		/^[a-zA-Z_-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
