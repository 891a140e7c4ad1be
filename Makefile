# People and CI run the same targets. Needs rustup (rust-toolchain.toml), a C compiler and make;
# The log on Kafka needs a C++ compiler and bash as well (or build with --no-default-features --features server).
# `faults` also needs strace, `contract` Python 3.10 with venv, `kafka-test` java, mvn, kcat, haproxy, ip (iproute2) and
# unshare: it makes network namespaces, as root or where users may have namespaces of their own.

CARGO ?= cargo
LOCKED ?= --locked
VERIFY = --manifest-path verify/Cargo.toml --target-dir target/verify

.DEFAULT_GOAL := help
.PHONY: help dev build test check tidy docs bench faults ui-test contract verify kafka kafka-test deny ci

# The server's tests that `kafka-test` repeats on Kafka; KAFKA_IT= runs all.
KAFKA_IT ?= restart:: keys:: results:: purge:: arrays:: unique_ids:: operations:: leases:: job_control::
# What reads the files of the embedded log, or asks which log it is.
NOT_ON_KAFKA = cli::a_repair cli_output::a_quiet_check restart::what_was_folded explain::a_partition_that_is_away \
  regressions::a_client_id_that_many views::health_answers views::reduced_durability views::the_cluster_is_one \
  views::the_root_answers views::the_log_shows

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 10

dev: ## run kwq with the demo on loopback
	$(CARGO) run --release $(LOCKED) -- dev

build: ## release binary in target/release/kwq
	$(CARGO) build --release $(LOCKED)

test: ## engine-only tests first, then all tests, then the fault suite at CI size
	$(CARGO) test $(LOCKED) --no-default-features --lib
	$(CARGO) test $(LOCKED)
	$(MAKE) faults

faults: ## kill, power cut, damage, full disk on the real binary; KWQ_TEST_SCALE=10 for more
	$(CARGO) test $(LOCKED) --test faults

check: tidy ## format, lints with and without features, documentation, tidy
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(LOCKED) --no-default-features --lib -- -D warnings
	$(CARGO) clippy $(LOCKED) --no-default-features --features server --lib --bins -- -D warnings
	$(CARGO) clippy $(LOCKED) --all-targets -- -D warnings
	$(CARGO) clippy $(LOCKED) --test faults --test kafka --test ui -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(LOCKED) --no-deps

tidy: ## fences of the source tree, drift of documents
	$(CARGO) test $(LOCKED) --test tidy

docs: ## write the generated tables of docs/configuration.md, docs/metrics.md and docs/roles.md
	KWQ_TIDY_WRITE=1 $(CARGO) test $(LOCKED) --test tidy documented
	KWQ_TIDY_WRITE=1 $(CARGO) test $(LOCKED) --lib the_document_of_roles

bench: ## ns per operation of the core
	$(CARGO) bench $(LOCKED) --bench core

ui-test: ## the page in headless Chromium against the real binary
	$(CARGO) test $(LOCKED) --test ui

contract: ## schemathesis against the real binary and its OpenAPI document; KWQ_CONTRACT_SEED repeats
	$(CARGO) build $(LOCKED) --bin kwq
	python3 tests/contract/run.py

verify: ## models of the protocols, explored exhaustively; KWQ_VERIFY_SCALE=2 looks farther
	$(CARGO) fmt --manifest-path verify/Cargo.toml --check
	$(CARGO) clippy --release $(LOCKED) $(VERIFY) --all-targets -- -D warnings
	$(CARGO) test --release $(LOCKED) $(VERIFY)

kafka: ## a real Apache Kafka on loopback until Ctrl-C; prints its address
	python3 tests/kafka/broker.py run

kafka-test: ## the log on a real Apache Kafka: contract, ownership, faults, then the server's tests on it
	python3 tests/kafka/broker.py exec -- $(CARGO) test $(LOCKED) --test kafka
	python3 tests/kafka/broker.py exec -- $(CARGO) test $(LOCKED) --test it -- $(KAFKA_IT) \
	  $(foreach name,$(NOT_ON_KAFKA),--skip $(name))

deny: ## licences, sources, advisories; needs cargo-deny
	$(CARGO) deny --locked check

ci: ## what .ci/run does
	./.ci/run
