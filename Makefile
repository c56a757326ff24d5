# `make` or `make help` lists what can be made. Whatever is missing is fetched when it is needed.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BIN     := .build/bin
VERSION ?= $(shell git describe --tags --match 'v*' --dirty 2>/dev/null || echo v0.0.0-$$(git rev-parse --short HEAD 2>/dev/null || echo unknown))
LDFLAGS := -s -w -X main.version=$(VERSION)
GOOS    := $(shell go env GOOS)
GOARCH  := $(shell go env GOARCH)
PLUGIN  := $(BIN)/cf_cli_pg_migrate_plugin-$(GOOS)-$(GOARCH)
SERVICE := $(BIN)/pg-migrate-service

# The servers that tests and the demo use.
POSTGRES := 15 18
TIMEOUT  ?= 30m
# How long each fuzz target runs.
FUZZTIME ?= 1m

# Go itself knows best what has changed.
.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build the plugin and the service into .build/bin
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o $(PLUGIN) .
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o $(SERVICE) ./service

.PHONY: fixtures
fixtures: ## get what tests and the demo stand on: PostgreSQL servers and the cf CLI
	@fixtures/postgres/install.sh $(POSTGRES)
	@fixtures/cf/install.sh

.PHONY: test
test: fixtures ## run all tests with the race detector; PACKAGES and TESTS=REGEXP choose some
	go test -race -timeout $(TIMEOUT) $(if $(TESTS),-run '$(TESTS)') $(or $(PACKAGES),./...)

# In its folder, so that go prints what the test does while it runs.
.PHONY: test-matrix
test-matrix: ## migrate all kinds of objects between versions 10 to 18; PAIRS='10-18 15-15' chooses some, FLAGS=-replica-role grants more
	@fixtures/postgres/install.sh 10 11 12 13 14 15 16 17 18 >/dev/null
	@go -C service/engine test -timeout $(TIMEOUT) -run '^TestMatrix' -parallel 2 -pairs '$(or $(PAIRS),all)' $(FLAGS)

.PHONY: test-replica-role
test-replica-role: ## run the engine's tests with targets whose logins may set session_replication_role
	@fixtures/postgres/install.sh $(POSTGRES) >/dev/null
	go test -race -timeout $(TIMEOUT) ./service/engine -replica-role

.PHONY: soak
soak: ## migrate random databases while sessions write at random; SECONDS=120 SEEDS=1 SEED=7 PARALLEL=2 choose
	@fixtures/postgres/install.sh $(POSTGRES) >/dev/null
	@go -C service/engine test -timeout 24h -parallel $(or $(PARALLEL),1) -run '^TestSoak$$' -soak $(or $(SECONDS),120)s -seeds $(or $(SEEDS),20) -seed $(or $(SEED),$$(date +%s)) | grep -v ' level='

.PHONY: test-large
test-large: ## migrate a database of 10,000 tables, and rows of 200 MB, and show what each phase takes; TABLES=1000 makes fewer
	@fixtures/postgres/install.sh $(POSTGRES) >/dev/null
	@go -C service/engine test -timeout 2h -v -run '^TestManyTables$$' -tables $(or $(TABLES),10000) | grep -v ' level='
	@go -C service/engine test -timeout 2h -v -run '^TestLargeRows$$' -large-row 200 | grep -v ' level='

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (1m)
	@grep -r --include='*_test.go' -o '^func Fuzz[A-Za-z]*' . | while IFS=: read -r file target; do \
		echo "$$file: $${target#func }"; \
		go test "$$(dirname "$$file")" -run '^$$' -fuzz "^$${target#func }\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s </dev/null; \
	done

.PHONY: lint
lint: $(BIN)/golangci-lint $(BIN)/oapi-codegen $(BIN)/govulncheck $(BIN)/shellcheck ## check style, house rules, generated code and known vulnerabilities
	$(BIN)/golangci-lint run
	tools/check-generated
	tools/check-scripts
	tools/check-vulnerabilities

.PHONY: format
format: $(BIN)/golangci-lint ## format the code
	$(BIN)/golangci-lint fmt

.PHONY: generate
generate: ## write api/types.gen.go from api/openapi.yaml
	go generate ./api

# All packages whose tests know -update, and those of their tests that write. Where one fails all the same, it is held
# against what was written.
GOLDEN := TestDocumentation|TestPage|TestReadme|TestScenarios|TestScripts
.PHONY: golden
golden: fixtures ## write the golden files, the scripts' outputs and the generated pages of docs/ anew
	@packages=$$(grep -rl --include='*_test.go' 'flag.Bool("update"' . | xargs -n 1 dirname | sort -u); \
		go test -count=1 $$packages -run '^($(GOLDEN))$$' -update || go test -count=1 $$packages -run '^($(GOLDEN))$$'

.PHONY: demo
demo: ## move a real database with the real cf CLI; KEEP=1 leaves all running, SAMPLE=FILE moves your dump
	@go run ./demo $(if $(KEEP),-keep) $(if $(SAMPLE),-sample '$(SAMPLE)')

.PHONY: release
release: $(BIN)/cyclonedx-gomod ## build the files of a release into .build/release; VERSION=v1.2.3 names it
	rm -rf .build/release
	go run ./release -version '$(VERSION)' -out .build/release -sbom-tool $<

.PHONY: image
image: ## build the service's image with docker, named after VERSION
	docker build -f deploy/Dockerfile --build-arg 'VERSION=$(VERSION)' -t 'pg-migrate-service:$(VERSION)' .

.PHONY: bench
bench: ## move databases with ours and with other tools, side by side; FLAGS='-runs 1 -parts copy' chooses
	go build -buildvcs=true -o $(BIN)/benchmarks ./benchmarks
	$(BIN)/benchmarks $(FLAGS)

.PHONY: bench-apply
bench-apply: ## measure how quickly a backlog of changes is applied, by turns with a native subscription, 4 rounds
	@fixtures/postgres/install.sh 15 >/dev/null
	go test ./service/engine/stream -run '^$$' -bench Backlog -benchtime 4x -v

.PHONY: bench-plugin
bench-plugin: ## measure what the plugin adds to an empty plugin and the service's answer, medians of 20 runs
	@fixtures/cf/install.sh >/dev/null
	go test ./plugin -run '^$$' -bench StartUp -benchtime 20x

.PHONY: clean
clean: ## remove what was built here
	rm -rf .build

# Each tool is built once from the version that its module pins.
$(BIN)/oapi-codegen: tools/go.mod
	go build -C tools -o ../$@ github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen
	@touch $@

# What the SBOMs say of the tool that wrote them must not depend on where it was built.
$(BIN)/cyclonedx-gomod: tools/cyclonedx-gomod/go.mod
	CGO_ENABLED=0 go build -C tools/cyclonedx-gomod -trimpath -buildvcs=false -o ../../$@ github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod
	@touch $@

$(BIN)/golangci-lint: tools/golangci-lint/go.mod
	go build -C tools/golangci-lint -o ../../$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@touch $@

$(BIN)/govulncheck: tools/govulncheck/go.mod
	go build -C tools/govulncheck -o ../../$@ golang.org/x/vuln/cmd/govulncheck
	@touch $@

$(BIN)/shellcheck: tools/get-shellcheck
	tools/get-shellcheck $@
