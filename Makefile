.DEFAULT_GOAL := help

help: ## list what there is to run
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build worker, publish and mailq into bin/
	go build -o bin/ ./cmd/...

test: ## run all tests
	go test ./...

race: ## run all tests with the race detector
	go test -race ./...

lint: ## run the linters (.golangci.yml says why some are off)
	go tool -modfile=tools.mod golangci-lint run

fuzz: ## run each fuzz target for half a minute
	@for p in $$(go list ./...); do for f in $$(go test -list '^Fuzz' $$p | grep ^Fuzz); do \
		go test -run '^$$' -fuzz "^$$f$$" -fuzztime 30s $$p || exit 1; done; done

accept: ## run the tests that kill, load and wait, in full (about ten minutes)
	go test -tags accept -timeout 60m -v -count 1 -run 'Load|First|Killed|Stopped|Away|Schedule|Later|Stop' ./cmd/worker

storm: ## kill, starve and cut what can be, in full (about half an hour)
	go test -tags accept -timeout 60m -v -count 1 -skip TestSoak ./internal/storm

soak: ## send mail for half an hour and weigh the processes (SOAK=10m: for that long)
	go test -tags accept -timeout 120m -v -count 1 -run TestSoak ./internal/storm

N ?= 1

containers: ## break a cluster of containers in every way, in full, N times (make containers N=10)
	POSTRIDER_REQUIRE_CONTAINERS=1 go test -tags accept -timeout 120m -v -count $(N) ./internal/fleet

clean: ## remove what was built
	rm -rf bin

.PHONY: help build test race lint fuzz accept storm soak containers clean
