# The commands of the README. Every target is a script of its own, so that each also works without make.
# CARGO_TARGET_DIR is honoured everywhere.

.DEFAULT_GOAL := help
.PHONY: help quickstart stop test test-vm soak fuzz bench check generate bless package

# $(call run,SCRIPT): runs it; where the feature does not exist yet, says so and fails.
run = @test -x $(1) || { echo "make $@: not available yet ($(1) does not exist)" >&2; exit 1; }; $(1)

help:
	@echo 'make quickstart   install, build, start a control plane and a node in ./.quickstart, run the tour'
	@echo 'make stop         stop what quickstart started'
	@echo 'make test         install what the tests need and run every test'
	@echo 'make test-vm      the same packages in a booted Debian machine with control groups v2'
	@echo 'make soak         the long load'
	@echo 'make fuzz         the fuzz targets, each for FUZZ_SECONDS (default 600)'
	@echo 'make bench        the benchmarks beside their peers; writes target/bench/summary.json'
	@echo 'make check        format, lints, licenses, layering, units, scripts, generated files'
	@echo 'make generate     write the generated files again'
	@echo 'make bless        accept what the tests print now as golden files'
	@echo 'make package      build the .deb files into target/package/'

quickstart:
	$(call run,packaging/quickstart/start.sh)

stop:
	$(call run,packaging/quickstart/stop.sh)

test:
	@.ci/test

test-vm:
	$(call run,tests/vm/run.sh)

soak:
	$(call run,tests/soak/run.sh)

fuzz:
	$(call run,tests/fuzz/run.sh)

bench:
	$(call run,tests/benches/run.sh)

check:
	@.ci/check

generate:
	@.ci/generate

bless:
	@.ci/bless

package:
	@.ci/package
