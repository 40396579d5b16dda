# Every target is one line of "make help"; the work is in scripts/.
export PATH := $(PATH):/usr/local/go/bin
FUZZTIME ?= 10s

.DEFAULT_GOAL := help
.PHONY: help setup build test demo bench soak lint fuzz matrix clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what tests and demo need (Debian packages)
	@scripts/setup

build: ## build bin/holdfast
	go build -buildvcs=false -trimpath -o bin/holdfast ./cmd/holdfast

test: ## set up and run every test, real guests included
	@scripts/test

demo: ## a real VM is backed up, destroyed and brought back
	@scripts/demo

bench: ## measure against restic, borg and virtnbdbackup
	go run -buildvcs=false ./bench

soak: ## the tests with many more crashes, faults and seeds (hours)
	@scripts/setup
	@scripts/test-servers --all
	HOLDFAST_SOAK=1 HOLDFAST_AZ=1 go test -count=1 -timeout 12h ./...

lint: ## gofmt, go vet, staticcheck, govulncheck
	@scripts/lint

fuzz: ## run every fuzz target for FUZZTIME (10s)
	@scripts/fuzz $(FUZZTIME)

matrix: ## renew docs/support-matrix.md and the list of tests per row
	go test -count=1 ./internal/matrix -update

clean: ## remove what was built here and the cached test guest
	rm -rf bin bench/work "$${HOLDFAST_CACHE:-$$HOME/.cache/holdfast}/guest-image"
