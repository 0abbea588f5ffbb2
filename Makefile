# What a newcomer needs: `make demo`, `make test`. Everything else: `make help`.

ARCH ?= $(shell uname -m)
TARGET := $(ARCH)-unknown-linux-musl
STATIC := target/$(TARGET)/release/meanwhile
# Printed by `meanwhile --version`.
export MEANWHILE_COMMIT := $(shell git rev-parse --short HEAD 2>/dev/null)
PREFIX ?= /usr/local

.PHONY: help demo test check static install clean

help:
	@echo 'make demo     see it work: no key and no network needed'
	@echo 'make test     run the tests'
	@echo 'make check    format and lints'
	@echo 'make static   one static binary: $(STATIC)'
	@echo 'make install  put it into $(PREFIX)/bin'

demo:
	@cargo run --locked --quiet -- demo

test:
	cargo test --locked

check:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

static:
	@rustup target list --installed 2>/dev/null | grep -qx $(TARGET) || rustup target add $(TARGET) || \
		{ echo 'make static needs the Rust target $(TARGET): install it with rustup, or let your distribution do it' >&2; exit 1; }
	cargo build --locked --release --target $(TARGET)
	@ls -l $(STATIC)

install: static
	install -D -m 755 $(STATIC) $(DESTDIR)$(PREFIX)/bin/meanwhile

clean:
	cargo clean
