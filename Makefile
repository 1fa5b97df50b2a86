# The short door to Meson: `make` builds a release, `make debug` with ASan and UBSan, `make tsan`, `make test`, `make fuzz`, `make install`, `make image`.
PREFIX ?= /usr/local
.PHONY: all release debug tsan test fuzz install image clean
all: release
build/release/build.ninja:
	meson setup build/release --buildtype=release -Doptimization=2 -Db_lto=true -Db_pie=true -Dtests=false --prefix=$(PREFIX)
release: build/release/build.ninja
	ninja -C build/release
build/debug/build.ninja:
	meson setup build/debug --buildtype=debug -Doptimization=1 -Db_sanitize=address,undefined -Db_lundef=false
debug: build/debug/build.ninja
	ninja -C build/debug
build/tsan/build.ninja:
	meson setup build/tsan --buildtype=debug -Doptimization=1 -Db_sanitize=thread -Db_lundef=false
tsan: build/tsan/build.ninja
	ninja -C build/tsan
test: debug
	meson test -C build/debug --print-errorlogs
build/fuzz/build.ninja:
	CC=clang meson setup build/fuzz --buildtype=debug -Doptimization=1 -Dlibfuzzer=true -Db_sanitize=address,undefined -Db_lundef=false
fuzz: build/fuzz/build.ninja
	ninja -C build/fuzz
install: release
	meson install -C build/release --no-rebuild
# build/connect.tar: the image of `sampan connect` (docker save format), for setting agent-image of a hub; IMAGE names it
IMAGE ?= sampan.io/connect:latest
image: release
	python3 tools/connect_image.py build/release/sampan build/connect.tar $(IMAGE)
clean:
	rm -rf build
