# What a newcomer needs: `make demo`, `make test`. Everything else: `make help`.

HOST := $(shell uname -m)
ARCH ?= $(HOST)
TARGET := $(ARCH)-unknown-linux-musl
STATIC := $(or $(CARGO_TARGET_DIR),target)/$(TARGET)/release/meanwhile
# For another machine than this one: its C compiler for ring.
ifneq ($(ARCH),$(HOST))
export CC_$(subst -,_,$(TARGET)) := $(ARCH)-linux-gnu-gcc
endif
# No path of the machine that builds is in the binary.
CARGO_HOME ?= $(HOME)/.cargo
export CARGO_TARGET_$(shell echo $(TARGET) | tr a-z- A-Z_)_RUSTFLAGS := --remap-path-prefix=$(CARGO_HOME)/registry/src/=
# Printed by `meanwhile --version`.
export MEANWHILE_COMMIT := $(shell git rev-parse --short HEAD 2>/dev/null)
PREFIX ?= /usr/local

.PHONY: help demo test check bench static install clean

help:
	@echo 'make demo     see it work: no key and no network needed'
	@echo 'make test     run the tests'
	@echo 'make check    format, lints, and what we depend on'
	@echo 'make bench    what it costs, against the least that is possible; under two minutes'
	@echo 'make static   one static binary: $(STATIC)'
	@echo '              (make static ARCH=aarch64 for an arm64 machine; needs aarch64-linux-gnu-gcc)'
	@echo 'make install  put it into $(PREFIX)/bin'

demo:
	@cargo run --locked --quiet -- demo

test:
	cargo test --locked

check:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	.ci/dependencies

# With the target and the profile of the static binary, so that nothing is built twice.
bench: static
	@MEANWHILE_BENCH_BINARY='$(abspath $(STATIC))' cargo bench --locked --quiet --target $(TARGET) --bench bench

static:
	@rustup target list --installed 2>/dev/null | grep -qx $(TARGET) || rustup target add $(TARGET) || \
		{ echo 'make static needs the Rust target $(TARGET): install it with rustup, or let your distribution do it' >&2; exit 1; }
	cargo build --locked --release --target $(TARGET)
	@ls -l $(STATIC)

install: static
	install -D -m 755 $(STATIC) $(DESTDIR)$(PREFIX)/bin/meanwhile

clean:
	cargo clean
