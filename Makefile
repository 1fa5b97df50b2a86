# The short door to Meson.
#   make                 a release           make install
#   make debug           with ASan and UBSan; make test runs the unit tests of that build
#   make tsan            with ThreadSanitizer, and runs the tests of the rooms in which threads meet
#   make clang           with clang, warnings are errors
#   make lint            cppcheck; make format: clang-format
#   make cross-arm64 | cross-armhf    Debian's cross compiler, and a few rooms' tests under qemu-user (docs/contributing.md)
#   make image           the container image of `sampan connect`
#   make fuzz            libFuzzer's targets; make fuzz-run SECONDS=600 TARGETS="http-h1 json-parse"
PREFIX ?= /usr/local
SECONDS ?= 600
TARGETS ?=
THREADED = base crypto http store uplink api
CROSS_TESTS = base json yaml proto crypto http store
.PHONY: all release debug tsan clang lint format test fuzz fuzz-run install image clean
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
	ninja -C build/tsan $(THREADED:%=test-%)
	TSAN_OPTIONS="halt_on_error=1" meson test -C build/tsan --no-rebuild --print-errorlogs --timeout-multiplier 4 $(THREADED)
build/clang/build.ninja:
	CC=clang meson setup build/clang --buildtype=debugoptimized
clang: build/clang/build.ninja
	ninja -C build/clang
lint: build/debug/build.ninja
	tools/lint.sh build/cppcheck build/debug/inc/all
format:
	find src tests fuzz bench -name '*.c' -o -name '*.h' | xargs clang-format -i
build/sysroot/%.ini:
	tools/sysroot.sh $* build/sysroot/$*
cross-%: build/sysroot/%.ini
	test -f build/$*/build.ninja || meson setup build/$* --cross-file build/sysroot/$*.ini --cross-file packaging/cross/$*.txt --buildtype=release -Db_pie=true
	ninja -C build/$* sampan $(CROSS_TESTS:%=test-%)
	meson test -C build/$* --no-rebuild --print-errorlogs --timeout-multiplier 10 $(CROSS_TESTS)
test: debug
	meson test -C build/debug --print-errorlogs
build/fuzz/build.ninja:
	CC=clang meson setup build/fuzz --buildtype=debug -Doptimization=1 -Dlibfuzzer=true -Db_sanitize=address,undefined -Db_lundef=false
fuzz: build/fuzz/build.ninja
	ninja -C build/fuzz
fuzz-run: fuzz
	tools/fuzz.py --seconds $(SECONDS) $(TARGETS)
install: release
	meson install -C build/release --no-rebuild
# build/connect.tar: the image of `sampan connect` (docker save format), for setting agent-image of a hub; IMAGE names it
IMAGE ?= sampan.io/connect:latest
image: release
	python3 tools/connect_image.py build/release/sampan build/connect.tar $(IMAGE)
clean:
	rm -rf build
