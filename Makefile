# Everything that a change has to pass; .ci/run calls the same targets.
GO ?= go
export CGO_ENABLED ?= 0
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
PLATFORMS = linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64

.PHONY: all build test noasm race vet staticcheck cross generate fuzz check check-long isolate-faults faults
all: build vet test

build:
	$(GO) build ./...

test:
	$(GO) test ./...

# The module has to work without assembly.
noasm:
	$(GO) test -tags noasm ./...

# The race detector cannot see assembly, and needs cgo.
race:
	CGO_ENABLED=1 $(GO) test -race -tags noasm ./...

vet:
	$(GO) vet ./...
	$(GO) vet -tags noasm ./...

staticcheck:
	$(GO) run $(STATICCHECK) ./...

cross:
	for p in $(PLATFORMS); do echo $$p && GOOS=$${p%/*} GOARCH=$${p#*/} $(GO) build ./... || exit 1; done

# Regenerates the assembly; a clean tree stays clean.
generate:
	cd internal/kernel/_asm && $(GO) run .

# A short run of every fuzz target.
FUZZTIME ?= 10s
fuzz:
	@for f in $$(grep -rlE '^func Fuzz' --include='*_test.go' .); do \
	  for t in $$(grep -oE '^func Fuzz[A-Za-z0-9_]+' $$f | cut -c6-); do \
	    echo $$t; $(GO) test -run '^$$' -fuzz "^$$t\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x ./$$(dirname $$f) || exit 1; \
	  done; done

check: build vet staticcheck cross test noasm race

# What takes hours rather than minutes: random graphs against the reference and damaged
# models, LONGTIME each and new ones for every SEED, then the fuzz targets and all faults.
LONGTIME ?= 30m
SEED ?= 1
check-long: FUZZTIME = 5m
check-long: FAULTSTIME = 5m
check-long:
	$(GO) test -count=1 -timeout 0 -v -run '^TestRandomGraphs$$' ./internal/engine -args -graphs 1000000000 -graphtime $(LONGTIME) -seed $(SEED)000000000
	$(GO) test -count=1 -timeout 0 -v -run '^TestMutants$$' . -args -mutants 1000000000 -mutanttime $(LONGTIME) -mutantseed $(SEED)
	@$(MAKE) --no-print-directory fuzz faults isolate-faults FUZZTIME=$(FUZZTIME) FAULTSTIME=$(FAULTSTIME)

# Faults in children of Isolate: {exit, panic, abort, kill, …} × {load, run, close}, then 1,000 at random.
FAULTS ?= 1000
isolate-faults:
	COREML_ISOLATE_FAULTS=$(FAULTS) $(GO) test -count=1 -timeout 30m -run 'Isolate|Canary' -v ./internal/backend

# One fault after the other under 64 callers; prints who answered, and how soon the breaker opened and closed.
FAULTSTIME ?= 60s
faults:
	COREML_FAULTS=$(FAULTSTIME) $(GO) test -count=1 -timeout 0 -v -run TestFaults ./internal/backend/chaos
