# Longer work is in hack/. sudo drops Go's usual place from PATH, so it is put back.
export PATH := $(PATH):/usr/local/go/bin
# The version comes from git describe below; Go's own stamp fails on a clone of another user's.
export GOFLAGS += -buildvcs=false
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
TOOLS := -modfile=hack/tools/go.mod
BUILD := CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)'

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build bin/penstock, static
	@hack/setup.sh build
	$(BUILD) -o bin/penstock ./cmd/penstock

image: ## Build bin/image/penstock.tar, for amd64 and arm64 (PLATFORMS=linux/amd64 for one), without an engine
	@hack/setup.sh build
	go run ./hack/image -version $(VERSION) $(if $(PLATFORMS),-platforms $(PLATFORMS))

generate: ## Compile the BPF programs and write their Go types
	@hack/setup.sh lint
	go generate ./bpf ./test/bench

manifests: ## Render deploy/kubernetes from deploy/chart, and what the chart has of the table of keys
	go test ./agent/config -run Chart -update
	go test ./test/deploy -run Manifests -update

test: ## Install what is missing, then run every test and each fuzzer for three seconds
	@hack/setup.sh test
	hack/test.sh
	hack/fuzz.sh 3s

e2e: ## Only the end-to-end tests in network namespaces
	@hack/setup.sh test
	@for build in kubetest helm traefik; do hack/$$build.sh >/dev/null || exit; done
	go test -count=1 -timeout 20m $$(go list ./test/... | grep -v '/test/cluster$$')

e2e-cluster: ## Helm installs Penstock on real kubelets, behind which Traefik serves while nodes die and input is bad (8 minutes)
	@hack/setup.sh test
	@for build in kubetest helm traefik; do hack/$$build.sh >/dev/null || exit; done
	go test -count=1 -v -timeout 20m ./test/cluster

bench: ## Nanoseconds per packet, our programs beside floors
	@hack/setup.sh test
	go test -run '^$$' -bench . -benchtime=1x -timeout 30m ./test/bench

churn: ## Hold 5,500 flows while everything changes, and count those that break (about an hour)
	@hack/setup.sh test
	go test -count=1 -v -timeout 3h -run TestTable ./test/churn -churn.table

lint: ## Linters, formats, and drift of generated code
	@hack/setup.sh lint
	hack/lint.sh

fmt: ## Format Go and C
	@hack/setup.sh lint
	go tool $(TOOLS) golangci-lint fmt
	clang-format-19 -i $(wildcard bpf/*.[ch] test/bench/*.[ch])

fuzz: ## Each fuzzer for a minute (FUZZTIME=10m for longer)
	@hack/setup.sh test
	hack/fuzz.sh $(or $(FUZZTIME),1m)

demo: ## Two LB nodes, an FRR router and an nginx tier on this machine, step by step
	@hack/setup.sh demo
	@$(MAKE) --no-print-directory build bin/demo
	@bin/demo run

demo-up: ## The demo's network, left running to play with
	@hack/setup.sh demo
	@$(MAKE) --no-print-directory build bin/demo
	@bin/demo up

demo-down: bin/demo ## Remove what demo-up left running
	@bin/demo down

bin/demo: FORCE
	@hack/setup.sh build
	@$(BUILD) -o $@ ./hack/demo

clean: ## Remove built files
	rm -rf bin

FORCE:
.PHONY: help build image generate manifests test e2e e2e-cluster bench churn lint fmt fuzz demo demo-up demo-down clean
.DEFAULT_GOAL := help
