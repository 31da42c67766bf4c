.DEFAULT_GOAL := help

# What the programs print as their version, and the image's tag.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
REVISION ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
IMAGE ?= postrider:$(VERSION)
CONTEXT ?= bin/image
CA ?= /etc/ssl/certs/ca-certificates.crt

# The same source gives the same bytes, wherever and whenever it is built.
STATIC = CGO_ENABLED=0 go build -trimpath -buildvcs=false \
	-ldflags '-s -w -buildid= -X github.com/postrider/postrider/internal/version.stamp=$(VERSION)'
TOOL = go tool -modfile=tools.mod

help: ## list the targets
	@echo 'usage: make TARGET [NAME=VALUE ...]'
	@awk -F ':.*## ' \
		'/^##@ /{printf "\n%s\n", substr($$0, 5)} /^[a-z]+:.*## /{printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Build

build: ## build all programs into bin/
	go build -o bin/ ./cmd/...

context: ## build the static programs and the other files of the image (CONTEXT=bin/image CA=FILE)
	@test -s $(CA) || { echo "$(CA) is missing: install ca-certificates, or name another bundle with CA=FILE"; exit 1; }
	mkdir -p $(CONTEXT)/data
	$(STATIC) -o $(CONTEXT)/ ./cmd/...
	install -m 644 $(CA) $(CONTEXT)/ca-certificates.crt
	install -m 644 Dockerfile $(CONTEXT)/Dockerfile

image: context ## build the container image (IMAGE=name:tag VERSION=v1.2.3)
	docker build --quiet --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) --tag $(IMAGE) $(CONTEXT)

reproducible: ## build the static programs twice, in two directories without a shared cache, and compare
	@dir=$$(mktemp -d) && trap 'chmod -R u+w '$$dir' && rm -rf '$$dir EXIT && set -e && \
	for n in 1 2; do \
		mkdir -p $$dir/$$n/source$$n $$dir/$$n/bin && git ls-files -z | tar -c --null -T - | tar -x -C $$dir/$$n/source$$n; \
		(cd $$dir/$$n/source$$n && GOCACHE=$$dir/$$n/cache $(STATIC) -o $$dir/$$n/bin/ ./cmd/... && \
			cd ../bin && sha256sum * >../sums && ./worker version | grep -F ' $(VERSION) '); \
	done && cat $$dir/1/sums && cmp $$dir/1/sums $$dir/2/sums && echo "both builds are the same"

clean: ## remove what was built
	rm -rf bin

##@ Check (.ci/run does these)

test: ## run the tests
	go test ./...

race: ## run the tests with the race detector
	go test -race ./...

manifests: ## check the manifests, the NATS accounts, the alarms and the graphs
	go -C deploy/k8s test ./...

lint: ## run the linters (.golangci.yml has the reason for each that is off)
	$(TOOL) golangci-lint run

deadcode: ## list functions that neither a program nor a test reaches; any is an error
	@dead=$$($(TOOL) deadcode -test ./...) && if [ -n "$$dead" ]; then echo "$$dead"; exit 1; fi

# Status 3: vulnerabilities were found. A database that cannot be fetched is
# reported and is no failure: machines without the Internet run this too.
vuln: ## look for known vulnerabilities in what the programs call
	@out=$$($(TOOL) govulncheck ./... 2>&1); status=$$?; echo "$$out"; \
	case $$status in \
	0) ;; \
	3) exit 1 ;; \
	*) echo "$$out" | grep -q 'fetching vulnerabilities:' || exit 1; \
	   echo "not checked: the vulnerability database cannot be reached" ;; \
	esac

##@ Long tests (.ci/full does these)

full: ## run all tests in their full form, one package at a time (an hour or two)
	POSTRIDER_TEST_FULL=1 go test -p 1 -count 1 -timeout 120m ./...

storm: ## kill, stop, cut off and fill everything, in full (ten minutes or more)
	POSTRIDER_TEST_FULL=1 go test -timeout 60m -v -count 1 -skip TestSoak ./internal/storm

soak: ## send mail for half an hour and measure the processes (SOAK=10m: for that long)
	POSTRIDER_TEST_FULL=1 go test -timeout 120m -v -count 1 -run TestSoak ./internal/storm

N ?= 1

containers: ## break a cluster of containers in every way, in full (N=10: ten times)
	POSTRIDER_TEST_FULL=1 POSTRIDER_TEST_CONTAINERS=1 go test -timeout 120m -v -count $(N) ./internal/fleet

FUZZ ?= 30s

fuzz: ## run each fuzz target for half a minute (FUZZ=2m: for that long)
	@for p in $$(go list ./...); do for f in $$(go test -list '^Fuzz' $$p | grep ^Fuzz); do \
		go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZ) $$p || exit 1; done; done

.PHONY: help build context image reproducible clean test race manifests lint deadcode vuln full storm soak containers fuzz
