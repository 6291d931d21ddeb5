# culvert: `make help` lists the targets. Only Go is needed for run, build, test, bench and demo.

# Versions of tools, pinned here and nowhere else.
GOLANGCI_VERSION := v2.15.0
NATS_VERSION     := v2.15.2

GO      ?= go
OUT     ?= build
BINARY  := $(OUT)/culvert
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

# Tools are kept outside the tree and named by their version, so that a fresh clone finds them built.
TOOLS    ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/culvert-tools
GOLANGCI := $(TOOLS)/golangci-lint-$(GOLANGCI_VERSION)-$(shell $(GO) env GOVERSION)

NATS     := $(TOOLS)/nats-server-$(NATS_VERSION)

# What the emulated machine boots: the kernel of the day when it was fetched.
KERNEL   := $(TOOLS)/kernel

# One line for every build there is: no path, no clock and no repository state goes into the binary.
# nethttpomithttp2: nothing here speaks HTTP/2, and it is half a megabyte.
BUILD = CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -tags nethttpomithttp2 -ldflags '-s -w -X main.version=$(VERSION)'

KILLS    ?= 1000
CUTS     ?= 10000
HISTORIES ?= 2000
FLIPS    ?= 2000
FUZZTIME ?= 30s
ARGS     ?=

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: build ## Start a node with no configuration (ARGS="--config culvert.toml" for one)
	$(BINARY) run $(ARGS)

.PHONY: build
build: ## Build the binary into build/
	@mkdir -p $(OUT)
	$(BUILD) -o $(BINARY) ./cmd/culvert

.PHONY: test
test: ## Run the tests
	$(GO) test ./...

.PHONY: race
race: ## Run the tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race ./...

.PHONY: test-arm
test-arm: ## Run the log's tests on emulated 32-bit ARM (needs qemu-user-static)
	GOARCH=arm GOARM=7 CGO_ENABLED=0 $(GO) test -exec qemu-arm-static ./log/...

.PHONY: interop
interop: ## Run real clients against the node, and a real Kafka behind it (CULVERT_INTEROP=require: skip none)
	$(GO) test -tags interop -count=1 -timeout 40m -v ./node/interop/... $(ARGS)

.PHONY: bench
bench: build $(NATS) ## Measure the node beside NATS, and Mosquitto where it is installed (ARGS=--quick for a short run)
	$(BINARY) bench suite --nats $(NATS) $(ARGS)

$(NATS):
	@mkdir -p $(TOOLS)/bin
	GOFLAGS= GOBIN=$(TOOLS)/bin $(GO) install github.com/nats-io/nats-server/v2@$(NATS_VERSION)
	mv $(TOOLS)/bin/nats-server $@

.PHONY: demo
demo: build ## Run the main job: node, centre, a fleet of devices; prove that the counts agree
	$(BINARY) demo $(ARGS)

.PHONY: lint
lint: $(GOLANGCI) ## Check formatting, style, import directions and 32-bit safety
	$(GOLANGCI) run ./...

$(GOLANGCI):
	@mkdir -p $(TOOLS)/bin
	GOFLAGS= GOBIN=$(TOOLS)/bin $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv $(TOOLS)/bin/golangci-lint $@

.PHONY: fmt
fmt: $(GOLANGCI) ## Format the sources
	$(GOLANGCI) fmt ./...

.PHONY: cross
cross: ## Build and compare every target's binary, run those of 64- and 32-bit ARM under qemu-user
	$(GO) test -tags cross -count=1 -timeout 60m -v ./cross -args -version $(VERSION) $(ARGS)

.PHONY: soak
soak: CUTS = 1000
soak: HISTORIES = 100000
soak: FLIPS = 100000
soak: model ## Kill the node under load KILLS times, cut an emulated machine's power CUTS times, fill its disk, damage its files
	$(GO) test -tags soak -count=1 -timeout 6h -v ./node/soak -args -kills $(KILLS) -cuts $(CUTS) -kernel $(KERNEL) $(ARGS)

.PHONY: model
model: ## Compare the store with a naive one in HISTORIES random histories, and flip FLIPS bits in its files
	CULVERT_FLIPS=$(FLIPS) $(GO) test -count=1 -timeout 24h -v -run 'TestStoreIsWhatANaiveLogWouldBe|TestFlippedBitsNeverReachAReader' ./log/store -rapid.checks=$(HISTORIES) -rapid.nofailfile

.PHONY: kernel
kernel: $(KERNEL) ## Fetch the kernel of soak's emulated machine (needs Debian; QEMU comes with qemu-system-x86)

$(KERNEL):
	bash .ci/kernel $@

.PHONY: powercut
powercut: ## Cut the power of the store CUTS times, at every kind of call it makes (needs /dev/fuse, as root)
	$(GO) test -tags powercut -count=1 -timeout 6h -v ./log/powercut -args -cuts $(CUTS) $(ARGS)

.PHONY: fuzz
fuzz: ## Fuzz every target for FUZZTIME each
	bash .ci/fuzz $(FUZZTIME)

.PHONY: clean
clean: ## Remove what was built (tools stay in their cache)
	rm -rf $(OUT)
