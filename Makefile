.DEFAULT_GOAL := help

# What the programs say of themselves, and the image's tag.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
REVISION ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
IMAGE ?= postrider:$(VERSION)
CONTEXT ?= bin/image
CA ?= /etc/ssl/certs/ca-certificates.crt

# The same source gives the same bytes, wherever and whenever it is built.
STATIC = CGO_ENABLED=0 go build -trimpath -buildvcs=false \
	-ldflags '-s -w -buildid= -X github.com/postrider/postrider/internal/version.stamp=$(VERSION)'

help: ## list what there is to run
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build worker, publish and mailq into bin/
	go build -o bin/ ./cmd/...

context: ## build the static programs and what else the image holds (CONTEXT=bin/image)
	@test -s $(CA) || { echo "$(CA) is missing: install ca-certificates, or name another bundle with CA=FILE"; exit 1; }
	mkdir -p $(CONTEXT)/data
	$(STATIC) -o $(CONTEXT)/ ./cmd/...
	install -m 644 $(CA) $(CONTEXT)/ca-certificates.crt
	install -m 644 Dockerfile $(CONTEXT)/Dockerfile

image: context ## build the container image (IMAGE=name:tag, VERSION=v1.2.3)
	docker build --quiet --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) --tag $(IMAGE) $(CONTEXT)

reproducible: ## build the static programs twice, in two places without a shared cache, and compare
	@dir=$$(mktemp -d) && trap 'chmod -R u+w '$$dir' && rm -rf '$$dir EXIT && set -e && \
	for n in 1 2; do \
		mkdir -p $$dir/$$n/source$$n && git ls-files -z | tar -c --null -T - | tar -x -C $$dir/$$n/source$$n; \
		(cd $$dir/$$n/source$$n && GOCACHE=$$dir/$$n/cache $(STATIC) -o $$dir/$$n/ ./cmd/... && \
			cd .. && sha256sum worker publish mailq >sums && ./worker version | grep -F ' $(VERSION) '); \
	done && cat $$dir/1/sums && cmp $$dir/1/sums $$dir/2/sums && echo "the same twice"

test: ## run all tests
	go test ./...

race: ## run all tests with the race detector
	go test -race ./...

manifests: ## check the manifests, the NATS accounts, the alarms and the graphs
	go -C deploy/k8s test ./...

lint: ## run the linters (.golangci.yml says why some are off)
	go tool -modfile=tools.mod golangci-lint run

fuzz: ## run each fuzz target for half a minute
	@for p in $$(go list ./...); do for f in $$(go test -list '^Fuzz' $$p | grep ^Fuzz); do \
		go test -run '^$$' -fuzz "^$$f$$" -fuzztime 30s $$p || exit 1; done; done

accept: ## run the tests that kill, load and wait, in full (about ten minutes)
	POSTRIDER_TEST_FULL=1 go test -timeout 60m -v -count 1 -run 'Load|First|Killed|Stopped|Away|Schedule|Later|Stop' ./internal/e2e

storm: ## kill, starve and cut what can be, in full (ten minutes or more)
	go test -tags accept -timeout 60m -v -count 1 -skip TestSoak ./internal/storm

soak: ## send mail for half an hour and weigh the processes (SOAK=10m: for that long)
	go test -tags accept -timeout 120m -v -count 1 -run TestSoak ./internal/storm

N ?= 1

containers: ## break a cluster of containers in every way, in full, N times (make containers N=10)
	POSTRIDER_TEST_CONTAINERS=1 go test -tags accept -timeout 120m -v -count $(N) ./internal/fleet

clean: ## remove what was built
	rm -rf bin

.PHONY: help build context image reproducible test race manifests lint fuzz accept storm soak containers clean
