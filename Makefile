# `make help` lists what can be made. Everything that is built stands in bin/,
# build/, console/web/dist/ and base/geo/data/, and none of it is committed.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

# One set of flags for build, vet and test: they share what is compiled.
export GOFLAGS := $(strip $(filter-out -trimpath,$(GOFLAGS)) -trimpath)
# The tests run in their own folders, so the path must be absolute.
export SAKIMORI_CORPUS := $(abspath $(or $(SAKIMORI_CORPUS),../shared/data))

VERSION := $(shell sed -n 's/^\#\# \([0-9][^ ]*\) .*/\1/p' CHANGELOG.md | head -n 1)
COMMIT  := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
LDFLAGS := -X main.version=$(VERSION) -X main.commit=$(COMMIT)

# Time for each fuzz target.
T ?= 30s

# Where tests put what they write: memory, where there is enough of it. What a crash of
# the machine would leave isn't a test's business; what a kill leaves is the same.
QUICK := $(shell test "$$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1)" -gt 6000000 2>/dev/null && echo /dev/shm || echo $${TMPDIR:-/tmp})

UI   := console/web/ui
PAGE := console/web/dist/index.html
GEO  := base/geo/data/sakimori.geo
LINT := bin/golangci-lint

UI_SOURCES := $(shell find $(UI) \( -name node_modules -o -name e2e -o -name test \) -prune -o -type f -print)
NPM        := npm ci --no-audit --no-fund --loglevel=error

.PHONY: help build demo test e2e web-test vet lint fix bench profile fuzz cover clean FORCE

help: ## list what can be made
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /  make \1\t/' | expand -t 18

build: bin/sakimori ## build bin/sakimori with its console and its geography

demo: build ## build, then show the sample day in a browser
	bin/sakimori demo

# go itself knows best whether the binary is up to date.
bin/sakimori: $(PAGE) $(GEO) FORCE
	@scripts/debian-packages build
	go build -ldflags '$(LDFLAGS)' -o $@ ./cmd/sakimori

# npm writes this file last, so it is the stamp of its folder.
%/node_modules/.package-lock.json: %/package.json %/package-lock.json
	cd $* && $(NPM)
	@touch $@

$(PAGE): $(UI)/node_modules/.package-lock.json $(UI_SOURCES)
	cd $(UI) && npm run --silent build
	@test -f $@ || { echo "npm built no $@: the console would be the placeholder" >&2; exit 1; }
	@touch $@

$(GEO): geodata/node_modules/.package-lock.json $(wildcard base/geo/*.go base/geo/compile/*.go)
	go run ./base/geo/compile -from geodata/node_modules -o $@
	@touch $@

# The Go tests come last: their lines close the output. vet has just been there. The longest
# go first, and more at once than there are cores: many of them wait for other programs.
test: ## install what the tests need, build, and run every test
	@scripts/debian-packages test
	@$(MAKE) --no-print-directory GOFLAGS='$(GOFLAGS) -pgo=off' build
	@$(MAKE) --no-print-directory GOFLAGS='$(GOFLAGS) -pgo=off' -j 3 --output-sync=target web-test vet e2e
	SAKIMORI_BUILT=1 SAKIMORI_BINARY=$(CURDIR)/bin/sakimori TMPDIR=$(QUICK) go test -pgo=off -vet=off -p 3 -timeout 20m ./test/... ./cmd/... ./...

web-test: $(UI)/node_modules/.package-lock.json
	cd $(UI) && npm run --silent check && npm test --silent

vet:
	@unformatted=$$(gofmt -l $$(find . -name node_modules -prune -o -name '*.go' -print)); \
	test -z "$$unformatted" || { echo "not formatted, run gofmt -w on:" $$unformatted >&2; exit 1; }
	go vet ./...

e2e: build ## walk through the console of a real demo with two browsers
	scripts/e2e npm --prefix $(UI) run --silent e2e

lint: $(LINT) ## run every linter (builds golangci-lint once, some minutes)
	$(LINT) run ./...

fix: $(LINT) ## let the linters format and repair what they can
	$(LINT) run --fix ./...

$(LINT): tools/go.mod tools/go.sum
	cd tools && go build -o ../$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

bench: build ## measure side by side with the field's own tools
	@scripts/debian-packages bench
	go run ./test/bench

profile: build ## let the compiler know where an import spends its time
	go run ./test/bench -parts D -rounds 5 -pgo cmd/sakimori/default.pgo

fuzz: ## run every fuzz target, T=30s each
	scripts/fuzz $(T)

cover: $(PAGE) $(GEO) ## run the Go tests and say how much of the code they reach
	@mkdir -p build
	go test -timeout 30m -coverpkg=./... -coverprofile=build/cover.out ./...
	go tool cover -html=build/cover.out -o build/cover.html
	@go tool cover -func=build/cover.out | tail -n 1

clean: ## remove all that was built or downloaded
	rm -rf bin build $(UI)/node_modules geodata/node_modules $(GEO)*
	find console/web/dist -mindepth 1 ! -name placeholder.html -delete
